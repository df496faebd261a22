/*
 * operator/hub_seen.c - when each host was last heard, kept across runs.
 *
 * `nefia vpn status` without a hub shows these times. The file is a small versioned JSON object, written whole at
 * most every 10 s and at the end; a missing or broken one only means that nothing is known:
 *	{"version":1,"hosts":{"<host>":{"last_handshake":<Unix seconds>,"public_key":"..."}}}
 * A time belongs to a key: a host whose key changed starts as never heard.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "operator/hub_internal.h"

#define SEEN_BYTES_MAX (4 * 1024 * 1024)
#define SEEN_VERSION 1

uint64_t hub_seen_of(const json_t *file, const char *host, const char *key)
{
	const json_t *entry = json_object_get(json_object_get(file, "hosts"), host);
	const char *stored = hub_json_string(entry, "public_key");
	json_int_t at = hub_json_int(entry, "last_handshake", 0);

	return stored && strcmp(stored, key) == 0 && at > 0 ? (uint64_t)at * NSEC_PER_SEC : 0;
}

json_t *hub_seen_read(const char *path)
{
	json_error_t why;
	json_t *file;
	char *text;
	size_t len;

	if (os_file_read(path, SEEN_BYTES_MAX, &text, &len) != OK)
		return NULL;
	file = json_loadb(text, len, 0, &why);
	free(text);
	if (hub_json_int(file, "version", 0) != SEEN_VERSION) {
		json_decref(file);
		return NULL;
	}
	return file;
}

void hub_seen_load(struct hub *h)
{
	json_t *file = hub_seen_read(h->paths.seen);
	char key[KEY_STR_MAX];

	for (size_t i = 0; i < h->n_hosts; i++) {
		struct hub_host *hh = h->hosts[i];
		uint64_t at = hub_seen_of(file, hh->peer.name, key_to_base64(hh->peer.key.b, key));

		hh->seen_wall = MAX(hh->seen_wall, at);
	}
	json_decref(file);
}

void hub_seen_update(struct hub *h)
{
	struct wg_device *dev = tunnel_device(h->tunnel);

	for (size_t i = 0; i < h->n_hosts; i++) {
		struct hub_host *hh = h->hosts[i];
		struct wg_peer_info info;
		wg_peer_id id = hh->has_key ? wg_peer_find(dev, &hh->peer.key) : 0;

		if (!id || !wg_peer_get_info(dev, id, os_now(), &info))
			continue;
		explicit_bzero(&info.psk, sizeof(info.psk));
		if (info.last_handshake_wall > hh->seen_wall) {
			hh->seen_wall = info.last_handshake_wall;
			h->seen_dirty = true;
		}
	}
}

void hub_seen_save(struct hub *h)
{
	json_t *hosts = json_object();
	json_t *file = json_pack("{s:i, s:o}", "version", SEEN_VERSION, "hosts", hosts);
	char key[KEY_STR_MAX];
	char *text;

	if (!h->seen_dirty) {
		json_decref(file);
		return;
	}
	for (size_t i = 0; i < h->n_hosts; i++) {
		struct hub_host *hh = h->hosts[i];

		if (hh->has_key && hh->seen_wall)
			json_object_set_new(hosts, hh->peer.name,
					    json_pack("{s:I, s:s}", "last_handshake",
						      (json_int_t)(hh->seen_wall / NSEC_PER_SEC), "public_key",
						      key_to_base64(hh->peer.key.b, key)));
	}
	h->seen_dirty = false;
	text = json_dumps(file, JSON_INDENT(1) | JSON_SORT_KEYS);
	if (!text || os_file_write_atomic(h->paths.seen, text, strlen(text), 0600) != OK)
		log_warn("last handshakes not saved path=%s", h->paths.seen);
	free(text);
	json_decref(file);
}
