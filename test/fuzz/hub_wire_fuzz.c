/* Messages on the control socket: found the same whether they come at once or in pieces, and written they read back. */
#include "operator/hub_wire.h"
#include "test/fuzz/fuzz.h"

static void look_at(json_t *msg)
{
	const char *name;
	json_t *v, *again;
	size_t len, used;
	char *text;

	json_object_foreach(msg, name, v) {
		ASSERT((hub_json_string(msg, name) != NULL) == json_is_string(v));
		(void)hub_json_int(msg, name, 1);
	}
	ASSERT(hub_err_from_name(hub_json_string(msg, "error")) != OK);
	if (hub_wire_encode(msg, &text, &len) != OK)
		return;
	ASSERT(hub_wire_decode(text, len, &again, &used) == OK && used == len);
	ASSERT(json_equal(msg, again));
	json_decref(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;

	while (size > 0) {
		size_t used = 0, cut;
		json_t *msg = NULL, *part;
		enum err e = hub_wire_decode(p, size, &msg, &used);

		ASSERT(e == OK || e == ERR_AGAIN || e == ERR_PROTOCOL);
		if (e != OK)
			break;
		ASSERT(json_is_object(msg) && used > HUB_WIRE_HDR && used <= size);
		for (cut = 0; cut < used; cut += used / 7 + 1)
			ASSERT(hub_wire_decode(p, cut, &part, &used) == ERR_AGAIN);
		look_at(msg);
		json_decref(msg);
		p += used;
		size -= used;
	}
	return 0;
}
