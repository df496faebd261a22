/* What a hub or agent answers to get=1, as `nefia wg` reads and prints it. */
#include "operator/wg_view.h"
#include "test/fuzz/fuzz.h"

static void print_to_nowhere(struct wg_view *v)
{
	static FILE *null;
	FILE *out = stdout;

	if (!null)
		null = fopen("/dev/null", "we");
	stdout = null;
	wg_view_print_conf(v);
	wg_view_print(v, "nefia");
	fflush(null);
	stdout = out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *answer = fuzz_text(data, size);
	struct wg_view v;

	wg_view_read(answer, &v);
	ASSERT(v.error >= 0 && v.error < 4096);
	for (size_t i = 0; i < v.n_peers; i++)
		ASSERT(strlen(v.peers[i].key) < KEY_STR_MAX && strlen(v.peers[i].endpoint) < ENDPOINT_STR_MAX);
	print_to_nowhere(&v);
	wg_view_free(&v);
	free(answer);
	return 0;
}
