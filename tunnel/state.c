/* tunnel/state.c - see state.h. */
#include "tunnel/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "os/file.h"
#include "os/loop.h"

#define STATE_VERSION 1
#define AHEAD (60 * NSEC_PER_SEC)
#define WRITE_INTERVAL (10 * NSEC_PER_SEC)
#define LINE_BYTES 192
#define STATE_BYTES_MAX ((TUNNEL_STATE_PEERS + 8) * LINE_BYTES)

static struct tunnel_state_peer *find(const struct tunnel_state *s, const struct wg_public_key *key)
{
	for (size_t i = 0; i < s->n_peers; i++)
		if (memcmp(s->peers[i].key.b, key->b, KEY_LEN) == 0)
			return &s->peers[i];
	return NULL;
}

const struct tunnel_state_peer *tunnel_state_find(const struct tunnel_state *s, const struct wg_public_key *key)
{
	return find(s, key);
}

static struct tunnel_state_peer *find_or_add(struct tunnel_state *s, const struct wg_public_key *key)
{
	struct tunnel_state_peer *p = find(s, key);

	if (p || s->n_peers == TUNNEL_STATE_PEERS)
		return p;
	p = realloc(s->peers, (s->n_peers + 1) * sizeof(*p));
	if (!p)
		return NULL;
	s->peers = p;
	p += s->n_peers++;
	*p = (struct tunnel_state_peer){ .key = *key };
	return p;
}

/* "peer KEY ENDPOINT HANDSHAKE"; a line that does not parse is left out. */
static void read_peer(struct tunnel_state *s, const char *line)
{
	char key_text[64], ep_text[80];
	struct tunnel_state_peer *p;
	struct wg_public_key key;
	struct endpoint ep = { 0 };
	uint64_t handshake;

	if (sscanf(line, "peer %63s %79s %" SCNu64, key_text, ep_text, &handshake) != 3 ||
	    key_from_base64(key_text, key.b) != OK)
		return;
	if (strcmp(ep_text, "-") != 0 && endpoint_parse(ep_text, &ep) != OK)
		return;
	p = find_or_add(s, &key);
	if (p) {
		p->endpoint = ep;
		p->last_handshake_wall = handshake;
	}
}

enum err tunnel_state_parse(struct tunnel_state *s, char *text)
{
	char *save = NULL;
	unsigned version = 0;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		sscanf(line, "version %u", &version);
		sscanf(line, "watermark %" SCNu64, &s->watermark);
		sscanf(line, "written %" SCNu64, &s->written_wall);
		sscanf(line, "aead %23s %" SCNx64, s->aead, &s->aead_print);
		read_peer(s, line);
	}
	if (version > STATE_VERSION) {
		tunnel_state_fini(s);
		return ERR_VERSION;
	}
	/* Past the year 2262 it is damage, not a clock: it would leave no room above it. */
	if (s->watermark > INT64_MAX)
		s->watermark = 0;
	return OK;
}

enum err tunnel_state_load(struct tunnel_state *s, const char *path)
{
	char *text;
	size_t len;
	enum err e;

	*s = (struct tunnel_state){ .path = path };
	if (!path)
		return OK;
	os_file_sweep(path);
	e = os_file_read(path, STATE_BYTES_MAX, &text, &len);
	if (e == ERR_NOT_FOUND)
		return OK;
	if (e != OK)
		return e;
	e = tunnel_state_parse(s, text);
	free(text);
	return e;
}

void tunnel_state_fini(struct tunnel_state *s)
{
	free(s->peers);
	*s = (struct tunnel_state){ 0 };
}

uint64_t tunnel_state_first(const struct tunnel_state *s, uint64_t wall)
{
	uint64_t since = wall - s->written_wall;

	if (s->watermark <= wall || s->written_wall == 0 || s->written_wall > wall || since > AHEAD)
		return s->watermark;
	return s->watermark + since;
}

static enum err write_state(struct tunnel_state *s)
{
	size_t cap = (s->n_peers + 8) * LINE_BYTES, len;
	char *text = malloc(cap), key[KEY_STR_MAX], ep[ENDPOINT_STR_MAX];
	enum err e;

	if (!text)
		return ERR_NOMEM;
	len = (size_t)snprintf(text, cap, "version %u\nwatermark %" PRIu64 "\nwritten %" PRIu64 "\n", STATE_VERSION,
			       s->watermark, os_wall_now());
	if (s->aead[0])
		len += (size_t)snprintf(text + len, cap - len, "aead %s %" PRIx64 "\n", s->aead, s->aead_print);
	for (size_t i = 0; i < s->n_peers; i++) {
		const struct tunnel_state_peer *p = &s->peers[i];

		len += (size_t)snprintf(text + len, cap - len, "peer %s %s %" PRIu64 "\n",
					key_to_base64(p->key.b, key),
					endpoint_is_set(&p->endpoint) ? endpoint_format(&p->endpoint, ep) : "-",
					p->last_handshake_wall);
	}
	e = os_file_write_atomic(s->path, text, len, 0600);
	free(text);
	/* Once, not each time: a full disk stays full for a while, and handshakes go on. */
	if (e != OK && !s->failed)
		log_warn("tunnel state not written: after a restart peers may be found more slowly path=%s error=%s", s->path,
			 err_text(e));
	else if (e == OK && s->failed)
		log_info("tunnel state written again path=%s", s->path);
	s->failed = e != OK;
	return e;
}

enum err tunnel_state_cover(struct tunnel_state *s, uint64_t timestamp)
{
	uint64_t before = s->watermark;
	enum err e;

	if (!s->path || timestamp <= s->watermark)
		return OK;
	s->watermark = timestamp + AHEAD;
	e = write_state(s);
	/* It is sent all the same: tried again with the next one, and by tunnel_state_flush() meanwhile. */
	if (e != OK)
		s->watermark = before;
	s->owed = e == OK ? 0 : timestamp;
	s->dirty = e != OK;
	return e;
}

void tunnel_state_note(struct tunnel_state *s, const struct wg_public_key *key, const struct endpoint *ep,
		       uint64_t handshake_wall)
{
	struct tunnel_state_peer *p = s->path ? find_or_add(s, key) : NULL;

	if (!p)
		return;
	if (endpoint_is_set(ep))
		p->endpoint = *ep;
	if (handshake_wall)
		p->last_handshake_wall = handshake_wall;
	s->dirty = true;
}

const char *tunnel_state_aead(const struct tunnel_state *s, uint64_t print)
{
	return s->aead[0] && s->aead_print == print ? s->aead : NULL;
}

void tunnel_state_set_aead(struct tunnel_state *s, const char *name, uint64_t print)
{
	if (!s->path)
		return;
	snprintf(s->aead, sizeof(s->aead), "%s", name);
	s->aead_print = print;
	s->dirty = true;
}

void tunnel_state_flush(struct tunnel_state *s, nsec_t now)
{
	if (!s->path || !s->dirty || now < s->next_write)
		return;
	s->next_write = now == NSEC_NEVER ? 0 : now + WRITE_INTERVAL;
	if (s->owed ? tunnel_state_cover(s, s->owed) == OK : write_state(s) == OK)
		s->dirty = false;
}
