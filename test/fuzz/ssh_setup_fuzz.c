/* What the hub tells a worker at its start: any bytes are refused, or each identity can be used, is locked, or says why not. */
#include "ssh/setup.h"
#include "test/fuzz/fuzz.h"

static void check_ident(struct ssh_ident *id)
{
	ASSERT(id->path && strlen(id->path) <= SSH_IDENT_PATH_MAX);
	if (id->is_agent || id->why[0])
		return;
	ASSERT(ssh_ident_is_locked(id) || id->key.private || id->key.pub.len > 0);
	ASSERT(!id->certificate.len || id->key.pub.len == 0 ||
	       ssh_key_is_certificate_of(ssh_blob_view(&id->certificate), ssh_blob_view(&id->key.pub)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ssh_reader r = { data, size, false };
	struct ssh_setup *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	if (ssh_setup_read(&r, s)) {
		ASSERT(s->n_ids <= N_IDENTITIES_MAX);
		for (size_t i = 0; i < s->n_ids; i++)
			check_ident(&s->ids[i]);
	}
	/* The worker has them to its end. */
	for (size_t i = 0; i < N_IDENTITIES_MAX; i++) {
		free(s->ids[i].path);
		ssh_blob_fini(&s->ids[i].text);
		ssh_blob_fini(&s->ids[i].certificate);
		ssh_key_fini(&s->ids[i].key);
	}
	free(s);
	return 0;
}
