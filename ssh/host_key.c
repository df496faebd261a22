/*
 * ssh/host_key.c - see host_key.h.
 *
 * Reading takes no lock: whoever changes the file either adds one line by one write at its end (we, ssh) or puts another file
 * in its place (ssh-keygen). Adding takes our lock, so that two hubs that meet a new host together write one line, and looks
 * at the file again once it has it. It does not write the file anew: a line that ssh adds at the same time would be lost. A line
 * that went into a file which ssh-keygen has just replaced is seen not to be there, and added again.
 */
#include "ssh/host_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "os/file.h"
#include "ssh/known_hosts.h"

#define FILE_MAX (4u << 20)
#define NAME_SIZE 80
#define WRITES_MAX 5 /* when the file is replaced again and again */

struct names {
	char name[NAME_SIZE];
	const char *list[3];
};

static void set_names(struct names *n, const char *host, const char *vpn_addr)
{
	snprintf(n->name, sizeof(n->name), "%s.nefia", host);
	n->list[0] = n->name;
	n->list[1] = vpn_addr;
	n->list[2] = NULL;
}

static enum err look(const struct host_key_asked *q, const char *b64, enum known_host *ret, unsigned *ret_line)
{
	char *text = NULL;
	struct names n;
	size_t len = 0;
	enum err e = os_file_read(q->file, FILE_MAX, &text, &len);

	if (e != OK && e != ERR_NOT_FOUND)
		return e;
	set_names(&n, q->host, q->vpn_addr);
	*ret_line = 0;
	*ret = known_hosts_check((struct bytes){ (uint8_t *)text, len }, n.list, q->type, b64, ret_line);
	free(text);
	return OK;
}

/* With the lock. The verdict may have become another one. */
static enum err add(const struct host_key_asked *q, const char *b64, enum known_host *verdict, unsigned *line, bool *ret_new)
{
	size_t size = strlen(q->host) + strlen(q->vpn_addr) + strlen(q->type) + strlen(b64) + 16;
	char *text = malloc(size);
	enum err e = text ? OK : ERR_NOMEM;

	if (e == OK)
		snprintf(text, size, "%s.nefia,%s %s %s\n", q->host, q->vpn_addr, q->type, b64);
	for (int i = 0; i < WRITES_MAX && e == OK; i++) {
		e = look(q, b64, verdict, line);
		if (e != OK || *verdict != KNOWN_HOST_UNKNOWN)
			break;
		e = os_file_append(q->file, text, strlen(text), 0600);
		*ret_new = e == OK;
		if (e == ERR_AGAIN)
			e = OK;
	}
	if (e == OK && *ret_new)
		*verdict = KNOWN_HOST_MATCH;
	free(text);
	return e;
}

static enum err remember(const struct host_key_asked *q, const char *b64, enum known_host *verdict, unsigned *line, char *why,
			 size_t size, bool *ret_new)
{
	struct os_lock *lock = NULL;
	char path[4200];
	enum err e;

	snprintf(path, sizeof(path), "%s.lock", q->file);
	e = os_lock_take(path, 1, &lock);
	if (e == ERR_IN_USE) {
		snprintf(why, size, "%s: another process holds it", path);
		return ERR_AGAIN;
	}
	if (e != OK) {
		snprintf(why, size, "%s: the host key could not be stored: %s: %s", q->file, path, err_text(e));
		return e;
	}
	e = add(q, b64, verdict, line, ret_new);
	os_lock_free(lock);
	if (e != OK)
		snprintf(why, size, "%s: the host key could not be stored: %s", q->file, err_text(e));
	return e;
}

static enum err say(const struct host_key_asked *q, enum known_host verdict, unsigned line, char *why, size_t size)
{
	char fingerprint[64];

	known_hosts_fingerprint(q->blob, fingerprint);
	switch (verdict) {
	case KNOWN_HOST_REVOKED:
		snprintf(why, size, "%s:%u: the key %s of %s is revoked", q->file, line, fingerprint, q->host);
		return ERR_HOST_KEY;
	case KNOWN_HOST_CA_ONLY:
		snprintf(why, size, "%s: %s is known by @cert-authority only, and certificates of hosts are not checked: add its key "
			 "%s, or remove that line", q->file, q->host, fingerprint);
		return ERR_HOST_KEY;
	case KNOWN_HOST_MISMATCH:
		snprintf(why, size,
			 "the host key of %s is now %s (%s), which is not the one in %s:%u. Somebody may be in between "
			 "(man in the middle), or the host was installed anew",
			 q->host, fingerprint, q->type, q->file, line);
		return ERR_HOST_KEY;
	default:
		return OK;
	}
}

enum err host_key_judge(const struct host_key_asked *q, char *why, size_t size, bool *ret_new)
{
	enum known_host verdict = KNOWN_HOST_UNKNOWN;
	char *b64 = malloc(q->blob.len / 3 * 4 + 8);
	unsigned line = 0;
	enum err e;

	*ret_new = false;
	if (!b64) {
		snprintf(why, size, "%s", err_text(ERR_NOMEM));
		return ERR_NOMEM;
	}
	EVP_EncodeBlock((uint8_t *)b64, q->blob.p, (int)q->blob.len);
	e = look(q, b64, &verdict, &line);
	if (e != OK)
		snprintf(why, size, "%s: %s", q->file, err_text(e));
	else if (verdict == KNOWN_HOST_UNKNOWN)
		e = remember(q, b64, &verdict, &line, why, size, ret_new);
	if (e == OK)
		e = say(q, verdict, line, why, size);
	free(b64);
	return e;
}

void host_key_types(const char *file, const char *host, const char *vpn_addr, char ret[256])
{
	struct names n;
	char *text = NULL;
	size_t len = 0;

	set_names(&n, host, vpn_addr);
	ret[0] = '\0';
	/* Unreadable: host_key_judge() will say so. */
	if (os_file_read(file, FILE_MAX, &text, &len) == OK)
		known_hosts_types((struct bytes){ (uint8_t *)text, len }, n.list, ret);
	free(text);
}
