/*
 * agent/secret_file.c - secrets in agent-keyring.json next to the configuration, each sealed with AES-256-GCM.
 *
 * The key lies in another folder ($XDG_STATE_HOME/nefia/keyring.key, else ~/.local/state/nefia/keyring.key; 32 random
 * bytes, 0600), so that a copy of the configuration's folder alone gives nothing away. Whoever reads all files of the
 * account reads the secrets too; that is what the Secret Service is for. A name is bound to its secret as associated data.
 *
 * libsodium has AES-256-GCM only where the processor has AES instructions; elsewhere: ERR_UNSUPPORTED.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/health.h"
#include "agent/keyring.h"
#include "base/encode.h"
#include "os/file.h"
#include "os/loop.h"

#define FILE_BYTES_MAX 65536
#define NONCE_LEN crypto_aead_aes256gcm_NPUBBYTES
#define TAG_LEN crypto_aead_aes256gcm_ABYTES
#define BOX_MAX (AGENT_SECRET_MAX + TAG_LEN)

static enum err key_path(char *ret, size_t size)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = os_home();

	if (state && state[0] == '/')
		snprintf(ret, size, "%s/nefia", state);
	else if (home)
		snprintf(ret, size, "%s/.local/state/nefia", home);
	else
		return ERR_NOT_FOUND;
	return OK;
}

static enum err make_key(const char *folder, const char *path, uint8_t key[KEY_LEN])
{
	enum err e = os_mkdir_p(folder, 0700);

	rng_bytes(os_rng(), key, KEY_LEN);
	return e == OK ? os_file_write_atomic(path, key, KEY_LEN, 0600) : e;
}

static enum err load_key(bool make, uint8_t key[KEY_LEN])
{
	char folder[4096], path[4200], *bytes;
	size_t len;
	enum err e = key_path(folder, sizeof(folder));

	if (e != OK)
		return e;
	snprintf(path, sizeof(path), "%s/keyring.key", folder);
	e = os_file_read(path, KEY_LEN, &bytes, &len);
	if (e == ERR_NOT_FOUND && make)
		return make_key(folder, path, key);
	if (e != OK)
		return e;
	if (len == KEY_LEN)
		memcpy(key, bytes, KEY_LEN);
	sodium_memzero(bytes, len);
	free(bytes);
	return len == KEY_LEN ? OK : ERR_AUTH;
}

/* The file as an object; an absent one is empty. */
static enum err load_file(const char *config, char *path, size_t path_size, json_t **ret)
{
	char *text;
	size_t len;
	enum err e;

	agent_path_beside(config, "agent-keyring.json", path, path_size);
	e = os_file_read(path, FILE_BYTES_MAX, &text, &len);
	if (e == ERR_NOT_FOUND) {
		*ret = json_pack("{s:i, s:{}}", "v", 1, "items");
		return *ret ? OK : ERR_NOMEM;
	}
	if (e != OK)
		return e;
	*ret = json_loadb(text, len, 0, NULL);
	free(text);
	if (json_integer_value(json_object_get(*ret, "v")) == 1 && json_is_object(json_object_get(*ret, "items")))
		return OK;
	e = json_integer_value(json_object_get(*ret, "v")) > 1 ? ERR_VERSION : ERR_FORMAT;
	json_decref(*ret);
	return e;
}

static enum err open_box(const json_t *item, const char *name, const uint8_t key[KEY_LEN], char ret[AGENT_SECRET_MAX])
{
	const char *nonce_hex = json_string_value(json_object_get(item, "nonce"));
	const char *box_hex = json_string_value(json_object_get(item, "box"));
	uint8_t nonce[NONCE_LEN], box[BOX_MAX];
	unsigned long long len;
	size_t box_len = box_hex ? strlen(box_hex) / 2 : 0;

	if (!nonce_hex || box_len < TAG_LEN || box_len >= BOX_MAX || hex_decode(nonce_hex, nonce, NONCE_LEN) != OK ||
	    hex_decode(box_hex, box, box_len) != OK)
		return ERR_FORMAT;
	if (crypto_aead_aes256gcm_decrypt((uint8_t *)ret, &len, NULL, box, box_len, (const uint8_t *)name, strlen(name),
					  nonce, key) != 0)
		return ERR_AUTH;
	ret[len] = '\0';
	return OK;
}

enum err agent_secret_file_get(const char *config, const char *name, char ret[AGENT_SECRET_MAX])
{
	char path[4096];
	uint8_t key[KEY_LEN];
	const json_t *item;
	json_t *j;
	enum err e = load_file(config, path, sizeof(path), &j);

	if (e != OK)
		return e;
	item = json_object_get(json_object_get(j, "items"), name);
	e = item ? OK : ERR_NOT_FOUND;
	if (e == OK && (sodium_init() < 0 || !crypto_aead_aes256gcm_is_available()))
		e = ERR_UNSUPPORTED;
	if (e == OK)
		e = load_key(false, key) == OK ? open_box(item, name, key, ret) : ERR_AUTH;
	sodium_memzero(key, sizeof(key));
	json_decref(j);
	return e;
}

static json_t *seal_box(const char *name, const char *secret, const uint8_t key[KEY_LEN])
{
	uint8_t nonce[NONCE_LEN], box[BOX_MAX];
	char nonce_hex[2 * NONCE_LEN + 1], box_hex[2 * BOX_MAX + 1];
	unsigned long long len;

	rng_bytes(os_rng(), nonce, sizeof(nonce));
	crypto_aead_aes256gcm_encrypt(box, &len, (const uint8_t *)secret, strlen(secret), (const uint8_t *)name,
				      strlen(name), NULL, nonce, key);
	return json_pack("{s:s, s:s}", "nonce", hex_encode(nonce, sizeof(nonce), nonce_hex), "box",
			 hex_encode(box, len, box_hex));
}

enum err agent_secret_file_set(const char *config, const char *name, const char *secret)
{
	char path[4096], *text;
	uint8_t key[KEY_LEN];
	json_t *j;
	enum err e;

	if (strlen(secret) >= AGENT_SECRET_MAX)
		return ERR_TOO_LONG;
	if (sodium_init() < 0 || !crypto_aead_aes256gcm_is_available())
		return ERR_UNSUPPORTED;
	e = load_file(config, path, sizeof(path), &j);
	if (e != OK)
		return e;
	e = load_key(true, key);
	if (e == OK && json_object_set_new(json_object_get(j, "items"), name, seal_box(name, secret, key)) != 0)
		e = ERR_NOMEM;
	sodium_memzero(key, sizeof(key));
	text = e == OK ? json_dumps(j, JSON_INDENT(2)) : NULL;
	if (e == OK)
		e = text ? os_file_write_atomic(path, text, strlen(text), 0600) : ERR_NOMEM;
	free(text);
	json_decref(j);
	return e;
}
