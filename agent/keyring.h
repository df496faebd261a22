/*
 * agent/keyring.h - secrets under a name: "keyring:NAME" in the configuration.
 *
 * The desktop's Secret Service where one answers, else a file next to the configuration, encrypted with AES-256-GCM under
 * a key that lies elsewhere.
 */
#ifndef AGENT_KEYRING_H
#define AGENT_KEYRING_H

#include "base/err.h"
#include "base/types.h"

#define AGENT_KEYRING_NAME_MAX 64
#define AGENT_SECRET_MAX 1024 /* bytes of text, with its NUL */

enum agent_keyring { AGENT_KEYRING_NONE, AGENT_KEYRING_SERVICE, AGENT_KEYRING_FILE };

/** agent_keyring_name() - "none", "secret-service", "file" */
const char *agent_keyring_name(enum agent_keyring k);
/** agent_keyring_item() - the NAME in "keyring:NAME"; NULL when @ref is no reference or NAME has characters beside A-Z a-z 0-9 . _ - */
const char *agent_keyring_item(const char *ref);
/**
 * agent_keyring_get() - the secret called @item, a text; wipe it after use
 * @config: the path of the configuration, beside which the file lies
 * @why: on an error, what to do
 *
 * May take 5 s where the Secret Service does not answer. Return: OK; ERR_NOT_FOUND; ERR_AUTH (the file does not fit its
 * key); ERR_UNSUPPORTED (this processor has no AES); ERR_PERMISSION ...
 */
MUST_CHECK enum err agent_keyring_get(const char *config, const char *item, char ret[AGENT_SECRET_MAX],
				      enum agent_keyring *ret_from, char *why, size_t why_size);
/** agent_keyring_set() - keep it, replacing an earlier one */
MUST_CHECK enum err agent_keyring_set(const char *config, const char *item, const char *secret,
				      enum agent_keyring *ret_to, char *why, size_t why_size);

/* The two places; keyring.c chooses. */
MUST_CHECK enum err agent_secret_service_get(const char *item, char ret[AGENT_SECRET_MAX]);
MUST_CHECK enum err agent_secret_service_set(const char *item, const char *secret);
MUST_CHECK enum err agent_secret_file_get(const char *config, const char *item, char ret[AGENT_SECRET_MAX]);
MUST_CHECK enum err agent_secret_file_set(const char *config, const char *item, const char *secret);

#endif
