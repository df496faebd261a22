/* enroll/form.h - what agent and operator tell each other inside the records: two JSON objects. */
#ifndef ENROLL_FORM_H
#define ENROLL_FORM_H

#include "enroll/token.h"

#define ENROLL_ADDRS_MAX 8
#define ENROLL_HOST_KEYS_MAX 8
#define ENROLL_HOST_KEY_LEN 1024 /* "ssh-ed25519 AAAA..." */
#define ENROLL_DERP_MAX 8
#define ENROLL_DERP_LEN 256

/* The agent's: its key is not in it, the handshake has proved it. */
struct enroll_request {
	char token[ENROLL_TOKEN_MAX];
	char host_id[ENROLL_HOST_ID_MAX + 1]; /* its own name */
	char os[16];
	char version[32];               /* of nefia-agent */
	uint16_t listen_port;           /* of its WireGuard; 0 = unknown */
	struct endpoint local_endpoint; /* in its LAN; unset = none that would help */
	char host_keys[ENROLL_HOST_KEYS_MAX][ENROLL_HOST_KEY_LEN];
	size_t n_host_keys;
};

/* The operator's. */
struct enroll_reply {
	enum enroll_code code;
	char host_id[ENROLL_HOST_ID_MAX + 1];
	char state[24]; /* "active" or "pending-approval" */
	struct ip_prefix addrs[ENROLL_ADDRS_MAX]; /* the agent's, with the length of the subnet */
	size_t n_addrs;
	struct ip_addr operator_addrs[ENROLL_ADDRS_MAX];
	size_t n_operator_addrs;
	struct endpoint endpoint; /* of the operator's WireGuard; unset = the operator calls */
	char derp_servers[ENROLL_DERP_MAX][ENROLL_DERP_LEN];
	size_t n_derp_servers;
	uint64_t max_file_size; /* bytes; 0 = not said */
};

/** enroll_request_write() - as JSON, to be freed; NULL when out of memory */
char *enroll_request_write(const struct enroll_request *r);
/** enroll_request_read() - total; unknown fields are skipped. ERR_FORMAT: *ret is not to be used. */
MUST_CHECK enum err enroll_request_read(struct bytes json, struct enroll_request *ret);
char *enroll_reply_write(const struct enroll_reply *r);
/** enroll_reply_read() - a success without an address is ERR_FORMAT */
MUST_CHECK enum err enroll_reply_read(struct bytes json, struct enroll_reply *ret);

#endif
