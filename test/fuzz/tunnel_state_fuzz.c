/* The state file: any bytes load within the limits or are refused; what is written then loads as the same. */
#include <unistd.h>

#include "os/file.h"
#include "tunnel/state.h"
#include "test/fuzz/fuzz.h"

static char dir[64], path[80];

static void clean(void)
{
	unlink(path);
	rmdir(dir);
}

static void start(void)
{
	if (dir[0])
		return;
	snprintf(dir, sizeof(dir), "%s/nefia-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(dir))
		abort();
	snprintf(path, sizeof(path), "%s/state", dir);
	atexit(clean);
}

static void put(const uint8_t *data, size_t size)
{
	FILE *f = fopen(path, "w");

	if (!f || (size && fwrite(data, 1, size, f) != size) || fclose(f) != 0)
		abort();
}

static void compare(const struct tunnel_state *a, const struct tunnel_state *b)
{
	ASSERT(a->n_peers == b->n_peers && a->watermark == b->watermark);
	for (size_t i = 0; i < a->n_peers; i++) {
		const struct tunnel_state_peer *p = tunnel_state_find(b, &a->peers[i].key);

		ASSERT(p && p->last_handshake_wall == a->peers[i].last_handshake_wall);
		ASSERT(!endpoint_is_set(&a->peers[i].endpoint) || endpoint_equal(&p->endpoint, &a->peers[i].endpoint));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct wg_public_key key = { { 1, 2, 3 } };
	struct endpoint ep = { { IP_V4, { 192, 0, 2, 1 } }, 9, 0 };
	struct tunnel_state s, again;

	fuzz_quiet();
	start();
	put(data, size);
	if (tunnel_state_load(&s, path) != OK)
		return 0;
	ASSERT(s.n_peers <= TUNNEL_STATE_PEERS);
	tunnel_state_note(&s, &key, &ep, 5);
	tunnel_state_flush(&s, NSEC_NEVER);
	ASSERT(!s.dirty && tunnel_state_load(&again, path) == OK);
	compare(&s, &again);
	tunnel_state_fini(&s);
	tunnel_state_fini(&again);
	return 0;
}
