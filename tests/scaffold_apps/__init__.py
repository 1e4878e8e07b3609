"""A new service's files, rendered with kustomize."""
