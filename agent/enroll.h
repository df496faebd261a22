/* agent/enroll.h - shared by the files of `nefia-agent enroll` alone. */
#ifndef AGENT_ENROLL_H
#define AGENT_ENROLL_H

#include "enroll/client.h"
#include "enroll/way.h"

struct agent_enroll {
	const char *token_file, *token, *out_dir, *ssh_addr;
	bool force, yes, install, run;
	bool token_on_stdin;
	char config[4096];    /* agent.yaml */
	char enrolling[4104]; /* beside it: the key of an enrollment that is not finished */
	struct enroll_token t;
	struct noise_static self;
	struct enroll_request req;
	struct enroll_reply reply;
	const char *farewell; /* of the way that succeeded */
};

/* ---- enroll.c ---- */
/**
 * agent_enroll_store() - the reply as agent.yaml, in place of what stood there
 * What the operator told becomes lines of a file: these must be readable, or nothing is written. Return: an exit code.
 */
int agent_enroll_store(const struct agent_enroll *a);

/* ---- enroll_net.c ---- */
/* agent_enroll_direct - a TCP connection: one attempt after the other, until the operator has answered or the time is over */
extern const struct enroll_way agent_enroll_direct;
/** agent_enroll_join() - try the tunnel of the new configuration for some seconds; false: no session came up */
bool agent_enroll_join(const struct agent_enroll *a);

/* ---- enroll_host.c ---- */
/** agent_enroll_host_keys() - ask the SSH server at ssh_addr for its keys, into the request */
void agent_enroll_host_keys(struct agent_enroll *a);
/** agent_enroll_fingerprint() - "SHA256:..." of a "type base64" line; false when it is none */
bool agent_enroll_fingerprint(const char *key, char ret[64]);

#endif
