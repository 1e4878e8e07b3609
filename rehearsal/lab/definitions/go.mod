module slipway/rehearsal/lab/definitions

go 1.26

// Read for its CustomResourceDefinitions alone; nothing of it is built.
require github.com/external-secrets/external-secrets v1.3.2
