/*
 * operator/hub_kept.c - the file of forwards in the background.
 *
 * It has what a person asked for and nothing of how it goes: a forward stands in it from when it first listened until it is
 * stopped, whatever becomes of processes, hubs and the machine meanwhile. It is written whole and put in place in one step, so
 * that a kill leaves the old list or the new one. Only the holder of the hub's lock writes: the hub, or a command while there is
 * none.
 */
#include "operator/hub_kept.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operator/hub_wire.h"
#include "os/file.h"

#define KEPT_BYTES_MAX (1024 * 1024)
#define KEPT_VERSION 1

static bool args_are_good(const json_t *args, json_int_t n_ports)
{
	const json_t *a;
	size_t i;

	if (!json_is_array(args) || json_array_size(args) > KEPT_ARGS_MAX)
		return false;
	if (n_ports < 1 || (size_t)n_ports > json_array_size(args))
		return false;
	json_array_foreach(args, i, a)
		if (!json_is_string(a))
			return false;
	return true;
}

static bool is_good(const json_t *o)
{
	json_int_t id = hub_json_int(o, "id", 0);
	const char *host = hub_json_string(o, "host");

	return id >= 1 && id <= INT_MAX && host && *host && strlen(host) < KEPT_HOST_MAX &&
	       args_are_good(json_object_get(o, "args"), hub_json_int(o, "ports", 0));
}

static bool all_are_good(const json_t *forwards)
{
	const json_t *o;
	size_t i;

	if (!json_is_array(forwards) || json_array_size(forwards) > KEEPS_MAX)
		return false;
	json_array_foreach(forwards, i, o)
		if (!is_good(o))
			return false;
	return true;
}

enum err hub_kept_read(const char *path, json_t **ret)
{
	json_t *file, *forwards;
	json_error_t why;
	char *text;
	size_t len;
	enum err e = os_file_read(path, KEPT_BYTES_MAX, &text, &len);

	if (e == ERR_NOT_FOUND) {
		*ret = json_array();
		return *ret ? OK : ERR_NOMEM;
	}
	if (e != OK)
		return e;
	file = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	free(text);
	forwards = json_object_get(file, "forwards");
	if (hub_json_int(file, "version", 0) > KEPT_VERSION)
		e = ERR_VERSION;
	else if (hub_json_int(file, "version", 0) != KEPT_VERSION || !all_are_good(forwards))
		e = ERR_FORMAT;
	else
		*ret = json_incref(forwards);
	json_decref(file);
	return e;
}

enum err hub_kept_write(const char *path, const json_t *forwards)
{
	json_t *file = json_pack("{s:i, s:O}", "version", KEPT_VERSION, "forwards", forwards);
	char *text = json_dumps(file, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
	enum err e = text ? os_file_write_atomic(path, text, strlen(text), 0600) : ERR_NOMEM;

	free(text);
	json_decref(file);
	return e;
}

bool hub_kept_matches(const char *which, unsigned id, const char *host)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", id);
	return strcmp(which, "all") == 0 || strcmp(which, number) == 0 || strcmp(which, host) == 0;
}

char *hub_kept_pin(const char *arg, bool with_target, const char *said)
{
	char at[FORWARD_END_STR_MAX], to[FORWARD_END_STR_MAX], *pinned = NULL;
	struct forward_spec asked, got;

	if (forward_spec_parse(arg, with_target, &asked) != OK || forward_end_is_path(&asked.listen) || asked.listen.port != 0)
		return NULL;
	if (sscanf(said, "Forwarding %265s", at) != 1 || forward_spec_parse(at, false, &got) != OK || got.listen.port == 0)
		return NULL;
	/* The address as it was asked for: what was said of a port at a host is that host's view. */
	asked.listen.port = got.listen.port;
	forward_end_format(&asked.listen, at);
	if (asprintf(&pinned, "%s%s%s", at, with_target ? ":" : "", with_target ? forward_end_format(&asked.target, to) : "") < 0)
		return NULL;
	return pinned;
}
