//go:build tools

// Package h2spec names the versions of h2spec and of what it needs; go.sum has their hashes.
package h2spec

import _ "github.com/summerwind/h2spec/cmd/h2spec"
