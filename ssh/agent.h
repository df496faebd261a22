/*
 * ssh/agent.h - the messages of ssh-agent (draft-miller-ssh-agent), the two that a client of keys needs: list and sign.
 *
 * The worker makes the questions and reads the answers; the hub carries them to the agent's socket, and lets only such
 * through as log in to the host as the user (ssh_agent_may_ask()).
 */
#ifndef SSH_AGENT_H
#define SSH_AGENT_H

#include "ssh/frame.h"
#include "ssh/wire.h"

#define SSH_AGENT_ANSWER_MAX (96 * 1024) /* fits into a message between hub and worker */
#define SSH_AGENT_KEYS_MAX 64            /* more are not looked at */

#define SSH_AGENT_RSA_SHA2_256 2u
#define SSH_AGENT_RSA_SHA2_512 4u

struct ssh_agent_key {
	struct bytes blob;
	struct bytes comment; /* any bytes */
};

/** ssh_agent_put_list() - ask for the keys; a whole message with its length */
MUST_CHECK enum err ssh_agent_put_list(struct ssh_buf *b);
/** ssh_agent_put_sign() - ask for a signature by @blob; @algorithm decides about SHA-2 for RSA */
MUST_CHECK enum err ssh_agent_put_sign(struct ssh_buf *b, struct bytes blob, struct bytes data, const char *algorithm);
/** ssh_agent_whole() - how long is the message that begins here, with its length? OK; ERR_AGAIN: not whole; ERR_TOO_LONG */
MUST_CHECK enum err ssh_agent_whole(struct bytes b, size_t *ret_total);
/**
 * ssh_agent_read_keys() - the answer to a list, without its length; views
 * Return: OK, also for none; ERR_REFUSED: it has none to give (locked); ERR_PROTOCOL.
 */
MUST_CHECK enum err ssh_agent_read_keys(struct bytes answer, struct ssh_agent_key ret[SSH_AGENT_KEYS_MAX], size_t *ret_n);
/**
 * ssh_agent_read_signature() - what stands behind the algorithm's name in the signature
 * For a security key that includes its flags and counter, with the lengths as they are.
 * Return: OK; ERR_REFUSED: the agent did not sign; ERR_UNSUPPORTED: it signed with another algorithm; ERR_PROTOCOL.
 */
MUST_CHECK enum err ssh_agent_read_signature(struct bytes answer, const char *algorithm, struct bytes *ret);

/* What is signed to log in (RFC 4252, section 7). */
struct ssh_login {
	struct bytes session_id, user, blob;
	char algorithm[64];
};
/** ssh_login_read() - ERR_PROTOCOL: it is something else */
MUST_CHECK enum err ssh_login_read(struct bytes data, struct ssh_login *ret);
/** ssh_agent_may_ask() - is @request a list, or the signature of a login as @user with the key that signs? */
bool ssh_agent_may_ask(struct bytes request, const char *user);

#endif
