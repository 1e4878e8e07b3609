"""What needs the lab: the real engine, a real control plane, real Argo CD. `make e2e` runs it; `make test` does not."""
