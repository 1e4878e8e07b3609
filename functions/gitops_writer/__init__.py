"""Turns pushed images into commits on the GitOps repository.

`core`, `manifests` and `scaffold` decide and touch nothing; `github`, `ecr`, `queues` and `catalogue` talk and decide nothing;
`handler` joins them. Modules import relatively: in the archive this package stands at the top, in the tree below `functions`.
"""
