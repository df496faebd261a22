/*
 * Both machines of the enrollment on any bytes. The first byte says where they come: instead of the agent's hello, instead of
 * its request, instead of the operator's answer or its reply; sealed with the right keys or as they are.
 */
#include <string.h>

#include "test/lib/enrollpair.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t sealed(struct enroll_channel *c, struct bytes plain, uint8_t *out, size_t room)
{
	if (plain.len + ENROLL_RECORD_HEAD + ENROLL_TAG_LEN > room)
		plain.len = room - ENROLL_RECORD_HEAD - ENROLL_TAG_LEN;
	enroll_record_seal(c, plain, out);
	return plain.len + ENROLL_RECORD_HEAD + ENROLL_TAG_LEN;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t record[8192];
	struct enrollpair p;
	struct enrollpair_agent *a = &p.agents[0];
	struct enroll_invites all = { &p.invite, 1 };
	unsigned where = size > 0 ? data[0] : 0;
	struct bytes in = { data + (size > 0), size - (size > 0) };

	enrollpair_init(&p, 1);
	enrollpair_start(&p, 0);
	for (unsigned i = 0; i < (where & 3); i++)
		enrollpair_step(&p, 0);
	if (a->running && where & 4) {
		struct enroll_channel *c = where & 8 ? &a->server.channel : &a->client.channel;

		in.len = sealed(c, in, record, sizeof(record));
		in.p = record;
	}
	if (a->running && where & 8)
		enroll_client_input(&a->client, in);
	else if (a->running)
		enroll_server_input(&a->server, &all, in);
	while (enrollpair_step(&p, 0) && a->running &&
	       (a->server.state == ENROLL_SERVER_COMMIT || enroll_client_output(&a->client).len || enroll_server_output(&a->server).len))
		;
	/* A reply sealed by the operator's own key is no attack, but a different operator. */
	if (!(where & 4 && where & 8))
		enrollpair_check(&p);
	enrollpair_fini(&p);
	return 0;
}
