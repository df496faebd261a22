/* known_hosts and the server's first bytes: any bytes, and a name out of them. */
#include <string.h>

#include "ssh/known_hosts.h"
#include "ssh/terrapin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[32] = "box";
	const char *const names[] = { name, "10.99.0.2", NULL };
	size_t take = size > 4 ? MIN(size / 4, sizeof(name) - 1) : 0;
	unsigned line;

	for (size_t i = 0; i < take && data[i]; i++)
		name[i] = (char)data[i];
	(void)known_hosts_check((struct bytes){ data, size }, names, "ssh-ed25519", "AAAA", &line);
	(void)known_hosts_name_matches((struct bytes){ data, size }, name);
	(void)terrapin_strict_kex((struct bytes){ data, size }, "SSH-2.0-x");
	return 0;
}
