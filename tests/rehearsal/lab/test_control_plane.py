"""A control plane's own authority."""

from pathlib import Path

from cryptography import x509

from rehearsal.lab.control_plane import Keys


def test_an_authority_certifies_its_server_and_its_administrator(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    authority, server, admin = (
        x509.load_pem_x509_certificate(keys.file(f"{name}.crt").read_bytes()) for name in ("authority", "server", "admin")
    )
    for each in (server, admin):
        each.verify_directly_issued_by(authority)
    assert "O=system:masters" in admin.subject.rfc4514_string()
    assert {each.stat().st_mode & 0o077 for each in (tmp_path / "keys").iterdir()} == {0}
