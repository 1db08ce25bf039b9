// Package feeds gives each team a feed of its own on NATS, instead of a callback:
// an account, which no other team's users and none of Posthaste's own subjects
// are in, with one stream in it.
//
// An account and not permissions in one account: whoever may use JetStream in an
// account can have the server send a message to any of its subjects, by the reply
// subject of a request, so permissions on subjects divide teams less than they
// seem to.
//
// # Keys
//
// nats-server trusts an operator. [Authority], at the control plane, has one of
// its signing keys and publishes accounts through the server's system account;
// users are credentials that an account's key signed, and nothing of them but the
// public key is kept. Accounts' keys are derived from the feeds' root key, which
// delivery has too: with it, and without the operator's, one can publish to feeds
// and do nothing else.
//
// Revoking a user is a change of its account: the server drops its connections.
package feeds
