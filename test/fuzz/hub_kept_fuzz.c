/* The file of forwards in the background: any bytes give forwards within the limits, which are written and read again the same. */
#include "operator/hub_kept.h"

#include "operator/hub_wire.h"
#include "test/fuzz/fuzz.h"

static void check_one(const json_t *o)
{
	json_int_t ports = hub_json_int(o, "ports", 0), id = hub_json_int(o, "id", 0);
	const json_t *args = json_object_get(o, "args");
	size_t n = json_array_size(args);
	char *pinned;

	ASSERT(id >= 1 && hub_json_string(o, "host") && strlen(hub_json_string(o, "host")) < KEPT_HOST_MAX);
	ASSERT(n <= KEPT_ARGS_MAX && ports >= 1 && (size_t)ports <= n);
	ASSERT(hub_kept_matches("all", (unsigned)id, hub_json_string(o, "host")));
	pinned = hub_kept_pin(json_string_value(json_array_get(args, n - 1)), true, "Forwarding 127.0.0.1:4711 to web");
	/* What is pinned asks for no other port any more. */
	ASSERT(!pinned || !hub_kept_pin(pinned, true, "Forwarding 127.0.0.1:4712 to web"));
	free(pinned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *all, *again;
	const char *path = fuzz_file(data, size);
	const json_t *o;
	size_t i;

	if (hub_kept_read(path, &all) != OK)
		return 0;
	ASSERT(json_array_size(all) <= KEEPS_MAX);
	json_array_foreach(all, i, o)
		check_one(o);
	if (json_array_size(all) > 0) {
		char *file;

		ASSERT(asprintf(&file, "/tmp/hub_kept_fuzz.%d", (int)getpid()) > 0);
		ASSERT(hub_kept_write(file, all) == OK && hub_kept_read(file, &again) == OK && json_equal(all, again));
		unlink(file);
		free(file);
		json_decref(again);
	}
	json_decref(all);
	return 0;
}
