// Package tenant is the service that manages who uses Posthaste: tenants, their
// API keys, and the log of who changed what. It doesn't check keys: that is done
// before a call gets to any service, by auth and rpc.
package tenant
