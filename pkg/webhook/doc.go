// Package webhook is the receiver's side of a callback: it checks that a push
// comes from Posthaste and is fresh, decodes it, and answers rightly. It also
// signs, for Posthaste itself and for tests of receivers.
//
// The signature is that of Standard Webhooks: the headers webhook-id,
// webhook-timestamp and webhook-signature, where the last is a list of entries,
// separated by blanks, each of a version and the base64 of a signature of
// "<id>.<timestamp>.<body>":
//
//	version  scheme       signs with               is checked with
//	v1       HMAC-SHA256  [Secret], "whsec_"       the same secret
//	v1a      Ed25519      [PrivateKey], "whsk_"    [PublicKey], "whpk_"
//
// While a key is being rotated a push carries a signature by each, and one that
// matches suffices; see [Signers] and [Verifier].
//
// [Handler] is all that most receivers need. What it leaves to the receiver:
//
//   - A push comes at least once. Its id is the same each time; [Chain] tells a
//     repeat from news by the revisions alone, so there is no list of ids to
//     keep.
//   - A push is acknowledged by returning nil. Return nil after what it says is
//     stored, not before.
//   - Pushes of one subscription come in order. Those of different
//     subscriptions come in any order and at the same time.
package webhook
