/* known_hosts: any bytes are judged; and a host that is added with its key is known from then on, unless it is revoked. */
#include "ssh/known_hosts.h"
#include "test/fuzz/fuzz.h"

#define TYPE "ssh-ed25519"
#define KEY "AAAAC3NzaC1lZDI1NTE5AAAAIA=="
#define LINE "\nbox.nefia,10.99.0.2 " TYPE " " KEY "\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "box.nefia", "10.99.0.2", NULL };
	unsigned line = 0, line2 = 0, n_lines = 1;
	uint8_t *more = malloc(size + sizeof(LINE));
	enum known_host before, after;

	if (!more)
		abort();
	for (size_t i = 0; i < size; i++)
		n_lines += data[i] == '\n';
	before = known_hosts_check((struct bytes){ data, size }, names, TYPE, KEY, &line);
	ASSERT(line <= n_lines);
	ASSERT((before != KNOWN_HOST_MISMATCH && before != KNOWN_HOST_REVOKED) || line >= 1);
	if (size)
		memcpy(more, data, size);
	memcpy(more + size, LINE, sizeof(LINE));
	after = known_hosts_check((struct bytes){ more, size + sizeof(LINE) - 1 }, names, TYPE, KEY, &line2);
	ASSERT(after == (before == KNOWN_HOST_REVOKED ? KNOWN_HOST_REVOKED : KNOWN_HOST_MATCH));
	free(more);
	return 0;
}
