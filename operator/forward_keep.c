/*
 * operator/forward_keep.c - forwards in the background, from the person's side: handing one to the hub, listing, stopping.
 *
 * Without a hub there is the file of those that the next one takes up (hub_kept.h); stopping takes them out of it, under the
 * hub's lock.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "operator/cmd.h"
#include "operator/hub_attach.h"
#include "operator/hub_core.h"
#include "operator/hub_kept.h"
#include "operator/hub_wire.h"
#include "operator/json_text.h"
#include "operator/status.h"
#include "os/file.h"
#include "os/loop.h"

#define START_MAX (32 * NSEC_PER_SEC) /* the hub gives up before */
#define CALL_MAX (3 * NSEC_PER_SEC)
#define STOP_MAX (4 * NSEC_PER_SEC)

static void print_said(const json_t *o)
{
	const json_t *line;
	size_t i;

	json_array_foreach(json_object_get(o, "says"), i, line)
		printf("%s\n", json_string_value(line));
}

/* The hub did it, but could not write it down. */
static void warn_unsaved(const json_t *reply, const char *so)
{
	const char *why = hub_json_string(reply, "unsaved");

	if (why)
		fprintf(stderr, "nefia: the list of forwards could not be written: %s; %s\n", why, so);
}

int forward_background(struct cli *cli, const char *host, char *const *args, size_t n_args, size_t n_ports)
{
	json_t *list = json_array(), *reply = NULL;
	struct hub_client *hc;
	int r = EXIT_OK;

	for (size_t i = 0; i < n_args; i++) {
		if (json_array_append_new(list, json_string(args[i])) == 0)
			continue;
		json_decref(list);
		return cli_usage(cli, "'%s' cannot be kept: it is not UTF-8", args[i]);
	}
	if (hub_client_open(cli, true, &hc) != OK) {
		json_decref(list);
		return EXIT_FAILED;
	}
	if (hub_client_call(hc, "keep", json_pack("{s:s, s:o, s:i}", "host", host, "args", list, "ports", (int)n_ports), START_MAX,
			    &reply, NULL) != OK) {
		r = cli_hub_error(cli, hc, host, 1016);
	} else {
		print_said(reply);
		warn_unsaved(reply, "it ends with the hub");
		printf("In the background as number %d; 'nefia forward --stop %d' ends it\n", (int)hub_json_int(reply, "id", 0),
		       (int)hub_json_int(reply, "id", 0));
	}
	json_decref(reply);
	hub_client_close(hc);
	return r;
}

/*
 * The hub's answer. NULL after a message, *ret_code says so, or when no hub runs: *ret_saved is what the file has then.
 */
static json_t *ask(struct cli *cli, const char *op, json_t *args, struct hub_client **hc, json_t **ret_saved, int *ret_code)
{
	json_t *reply = NULL;
	struct hub_paths paths;
	enum err e = hub_attach(cli->home, cli->config, false, hc);

	*ret_code = EXIT_OK;
	*ret_saved = NULL;
	if (e == OK) {
		e = hub_client_call(*hc, op, args, CALL_MAX, &reply, NULL);
	} else {
		json_decref(args);
		if (e == ERR_NOT_FOUND && hub_paths_init(cli->home, &paths) == OK) {
			e = hub_kept_read(paths.kept, ret_saved);
			if (e != OK)
				*ret_code = cli_error(cli, 1041, "%s: %s", paths.kept, err_text(e));
			return NULL;
		}
	}
	if (e != OK)
		*ret_code = cli_error(cli, hub_client_ecode(*hc) ? hub_client_ecode(*hc) : 1015, "%s", hub_client_message(*hc));
	return reply;
}

static void print_texts(const json_t *texts)
{
	const json_t *line;
	size_t i;

	json_array_foreach(texts, i, line)
		printf("%s%s", i ? " " : "   ", json_string_value(line));
	putchar('\n');
}

static void print_forward(const json_t *o)
{
	json_int_t restarts = hub_json_int(o, "restarts", 0);
	const char *state = hub_json_string(o, "state"), *why = hub_json_string(o, "why");
	const json_t *says = json_object_get(o, "says"), *line;
	char age[32];
	size_t i;

	printf("%d  %s  %s", (int)hub_json_int(o, "id", 0), hub_json_string(o, "host"), state);
	if (json_object_get(o, "age_ms"))
		printf(", %s", status_age((uint64_t)hub_json_int(o, "age_ms", 0) / 1000, age));
	if (restarts > 0)
		printf(", restarted %d time%s", (int)restarts, restarts == 1 ? "" : "s");
	putchar('\n');
	/* What it could not say yet is told in the person's own words. */
	if (json_array_size(says) == 0)
		print_texts(json_object_get(o, "args"));
	json_array_foreach(says, i, line)
		printf("   %s\n", json_string_value(line));
	if (why && *why)
		printf("   not ready: %s\n", why);
}

/* What a hub would answer about those of the file, while there is none. */
static json_t *saved_json(const json_t *saved)
{
	json_t *all = json_array();
	const json_t *o;
	size_t i;

	json_array_foreach(saved, i, o)
		json_array_append_new(all, json_pack("{s:O, s:O, s:s, s:O, s:[]}", "id", json_object_get(o, "id"), "host",
						     json_object_get(o, "host"), "state", "saved", "args",
						     json_object_get(o, "args"), "says"));
	return all;
}

int forward_list(struct cli *cli)
{
	struct hub_client *hc = NULL;
	json_t *saved;
	int r;
	json_t *reply = ask(cli, "keeps", NULL, &hc, &saved, &r);
	json_t *all = reply ? json_incref(json_object_get(reply, "forwards")) : saved_json(saved);
	const json_t *o;
	size_t i;

	if (r == EXIT_OK && cli->json) {
		json_text_print(all, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	} else if (r == EXIT_OK) {
		json_array_foreach(all, i, o)
			print_forward(o);
		if (json_array_size(all) == 0)
			printf("No forward runs in the background\n");
		else if (!reply)
			printf("No hub runs; the next one takes %s up again\n", json_array_size(all) == 1 ? "it" : "them");
	}
	json_decref(all);
	json_decref(saved);
	json_decref(reply);
	hub_client_close(hc);
	return r;
}

/* Until those that were told have ended: their ports are free then. */
static void wait_for_end(struct hub_client *hc)
{
	nsec_t until = os_now() + STOP_MAX;
	bool busy = true;

	while (busy && os_now() < until) {
		json_t *reply = NULL;
		const json_t *o;
		size_t i;

		if (hub_client_call(hc, "keeps", NULL, CALL_MAX, &reply, NULL) != OK)
			return;
		busy = false;
		json_array_foreach(json_object_get(reply, "forwards"), i, o)
			busy |= strcmp(hub_json_string(o, "state"), "stopping") == 0;
		json_decref(reply);
		if (busy)
			poll(NULL, 0, 20);
	}
}

/* No hub runs: take them out of the file. *ret: what the hub would have answered. */
static int stop_saved(struct cli *cli, const char *which, json_t **ret)
{
	json_t *all = NULL, *left = json_array(), *stopped = json_array();
	struct os_lock *lock = NULL;
	struct hub_paths paths;
	const json_t *o;
	size_t i;
	enum err e = hub_paths_init(cli->home, &paths);

	if (e == OK)
		e = os_lock_take(paths.lock, 1, &lock);
	/* Read again: a hub may have come and gone. */
	if (e == OK)
		e = hub_kept_read(paths.kept, &all);
	json_array_foreach(all, i, o) {
		bool is_meant = hub_kept_matches(which, (unsigned)hub_json_int(o, "id", 0), hub_json_string(o, "host"));

		json_array_append(is_meant ? stopped : left, (json_t *)o);
	}
	if (e == OK && json_array_size(stopped) > 0)
		e = hub_kept_write(paths.kept, left);
	os_lock_free(lock);
	json_decref(all);
	json_decref(left);
	*ret = json_pack("{s:o}", "stopped", stopped);
	if (e == ERR_IN_USE)
		return cli_error(cli, 1015, "a hub is just starting or ending; try again");
	return e == OK ? EXIT_OK : cli_error(cli, 1041, "%s: %s", paths.kept, err_text(e));
}

int forward_stop(struct cli *cli, const char *which)
{
	struct hub_client *hc = NULL;
	json_t *saved, *all;
	const json_t *o;
	size_t i;
	int r;
	json_t *reply = ask(cli, "unkeep", json_pack("{s:s}", "which", which), &hc, &saved, &r);
	bool has_hub = reply != NULL;

	if (json_array_size(saved) > 0)
		r = stop_saved(cli, which, &reply);
	all = json_object_get(reply, "stopped");
	if (r == EXIT_OK && json_array_size(all) == 0 && strcmp(which, "all") != 0)
		r = cli_error(cli, 1017, "none in the background has the number, or is to the host, '%s'", which);
	json_array_foreach(all, i, o)
		printf("Stopped number %d, %s\n", (int)hub_json_int(o, "id", 0), hub_json_string(o, "host"));
	warn_unsaved(reply, "they come back with the next hub");
	if (has_hub && json_array_size(all) > 0)
		wait_for_end(hc);
	json_decref(saved);
	json_decref(reply);
	hub_client_close(hc);
	return r;
}
