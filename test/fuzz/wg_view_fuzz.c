/*
 * What a hub or agent answers to get=1, as `nefia wg` reads and prints it. Its reader is the command's own (static), so the
 * command is compiled in here in place of the library's.
 */
#include "operator/cmd_wg.c"
#include "test/fuzz/fuzz.h"

static void print_to_nowhere(struct view *v)
{
	static FILE *null;
	FILE *out = stdout;

	if (!null)
		null = fopen("/dev/null", "we");
	stdout = null;
	print_conf(v);
	print_show(v, "nefia");
	fflush(null);
	stdout = out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *answer = fuzz_text(data, size);
	struct view v;

	read_view(answer, &v);
	ASSERT(v.error >= -1);
	for (size_t i = 0; i < v.n_peers; i++)
		ASSERT(strlen(v.peers[i].key) < KEY_STR_MAX && strlen(v.peers[i].endpoint) < ENDPOINT_STR_MAX);
	print_to_nowhere(&v);
	view_free(&v);
	free(answer);
	return 0;
}
