/* The file of last handshakes: any bytes give an object of our version or nothing, and a time only for the key it was with. */
#include "operator/hub_internal.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *file = hub_seen_read(fuzz_file(data, size)), *entry;
	const char *host;

	if (!file)
		return 0;
	ASSERT(json_is_object(file));
	json_object_foreach(json_object_get(file, "hosts"), host, entry) {
		const char *key = hub_json_string(entry, "public_key");

		ASSERT(hub_seen_of(file, host, "another key") == 0 || strcmp(key, "another key") == 0);
		ASSERT(!key || hub_seen_of(file, host, key) % NSEC_PER_SEC == 0);
	}
	ASSERT(hub_seen_of(file, "no such host", "") == 0 || json_object_get(json_object_get(file, "hosts"), "no such host"));
	json_decref(file);
	return 0;
}
