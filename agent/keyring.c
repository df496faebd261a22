/*
 * agent/keyring.c - which place a secret is in, see keyring.h.
 *
 * Read: the Secret Service first, then the file, so that a secret kept before the desktop was there is still found.
 * Write: the Secret Service, and only if there is none the file; never both.
 */
#include "agent/keyring.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

const char *agent_keyring_name(enum agent_keyring k)
{
	static const char *const names[] = { "none", "secret-service", "file" };

	return names[k];
}

const char *agent_keyring_item(const char *ref)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	const char *item = ref + 8;

	if (strncmp(ref, "keyring:", 8) != 0 || !*item || strlen(item) > AGENT_KEYRING_NAME_MAX ||
	    item[strspn(item, allowed)])
		return NULL;
	return item;
}

static void explain(enum err e, const char *item, char *why, size_t size)
{
	switch (e) {
	case ERR_NOT_FOUND:
		snprintf(why, size, "no keyring has '%s': 'nefia-agent keygen --keyring %s' makes a key there", item, item);
		break;
	case ERR_AUTH:
		snprintf(why, size, "agent-keyring.json cannot be decrypted: it belongs to another keyring.key, or was changed");
		break;
	case ERR_UNSUPPORTED:
		snprintf(why, size, "no Secret Service answers, and the encrypted file needs a processor with AES: put the key "
				    "itself into private_key");
		break;
	default:
		snprintf(why, size, "keyring: %s", err_text(e));
	}
}

enum err agent_keyring_get(const char *config, const char *item, char ret[AGENT_SECRET_MAX],
			   enum agent_keyring *ret_from, char *why, size_t why_size)
{
	enum err e = agent_secret_service_get(item, ret);

	*ret_from = AGENT_KEYRING_SERVICE;
	if (e != OK) {
		log_debug("secret service has no answer item=%s reason=%s", item, err_text(e));
		*ret_from = AGENT_KEYRING_FILE;
		e = agent_secret_file_get(config, item, ret);
	}
	if (e != OK)
		explain(e, item, why, why_size);
	return e;
}

enum err agent_keyring_set(const char *config, const char *item, const char *secret, enum agent_keyring *ret_to, char *why,
			   size_t why_size)
{
	enum err e = agent_secret_service_set(item, secret);

	*ret_to = AGENT_KEYRING_SERVICE;
	if (e != OK) {
		*ret_to = AGENT_KEYRING_FILE;
		e = agent_secret_file_set(config, item, secret);
	}
	if (e != OK)
		explain(e, item, why, why_size);
	return e;
}
