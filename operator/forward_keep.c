/*
 * operator/forward_keep.c - forwards in the background, from the person's side: handing one to the hub, listing, stopping.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "operator/cmd.h"
#include "operator/hub_attach.h"
#include "operator/hub_wire.h"
#include "operator/status.h"
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

int forward_background(struct cli *cli, const char *host, char *const *args, size_t n_args, size_t n_ports)
{
	json_t *list = json_array(), *reply = NULL;
	struct hub_client *hc;
	int r = EXIT_OK;

	for (size_t i = 0; i < n_args; i++)
		json_array_append_new(list, json_string(args[i]));
	if (hub_client_open(cli, true, &hc) != OK) {
		json_decref(list);
		return EXIT_FAILED;
	}
	if (hub_client_call(hc, "keep", json_pack("{s:s, s:o, s:i}", "host", host, "args", list, "ports", (int)n_ports), START_MAX,
			    &reply, NULL) != OK) {
		r = cli_hub_error(cli, hc, host, 1016);
	} else {
		print_said(reply);
		printf("In the background as number %d; 'nefia forward --stop %d' ends it\n", (int)hub_json_int(reply, "id", 0),
		       (int)hub_json_int(reply, "id", 0));
	}
	json_decref(reply);
	hub_client_close(hc);
	return r;
}

/* The hub's answer; NULL when no hub runs (*ret_code is 0), or after a message. */
static json_t *ask(struct cli *cli, const char *op, json_t *args, struct hub_client **hc, int *ret_code)
{
	json_t *reply = NULL;

	*ret_code = EXIT_OK;
	if (hub_attach(cli->home, cli->config, false, hc) != OK) {
		json_decref(args);
		return NULL;
	}
	if (hub_client_call(*hc, op, args, CALL_MAX, &reply, NULL) != OK)
		*ret_code = cli_error(cli, hub_client_ecode(*hc) ? hub_client_ecode(*hc) : 1015, "%s", hub_client_message(*hc));
	return reply;
}

static void print_forward(const json_t *o)
{
	json_int_t restarts = hub_json_int(o, "restarts", 0);
	const char *state = hub_json_string(o, "state");
	char age[32];

	printf("%d  %s  %s, %s", (int)hub_json_int(o, "id", 0), hub_json_string(o, "host"), state,
	       status_age((uint64_t)hub_json_int(o, "age_ms", 0) / 1000, age));
	if (restarts > 0)
		printf(", restarted %d time%s", (int)restarts, restarts == 1 ? "" : "s");
	putchar('\n');
	for (size_t i = 0; i < json_array_size(json_object_get(o, "says")); i++)
		printf("   %s\n", json_string_value(json_array_get(json_object_get(o, "says"), i)));
}

int forward_list(struct cli *cli)
{
	struct hub_client *hc = NULL;
	int r;
	json_t *reply = ask(cli, "keeps", NULL, &hc, &r), *all = json_object_get(reply, "forwards"), *none = json_array();
	const json_t *o;
	size_t i;

	if (r == EXIT_OK && cli->json) {
		json_dumpf(all ? all : none, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
	} else if (r == EXIT_OK) {
		json_array_foreach(all, i, o)
			print_forward(o);
		if (json_array_size(all) == 0)
			printf("No forward runs in the background\n");
	}
	json_decref(none);
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

int forward_stop(struct cli *cli, const char *which)
{
	struct hub_client *hc = NULL;
	const json_t *o;
	size_t i;
	int r;
	json_t *reply = ask(cli, "unkeep", json_pack("{s:s}", "which", which), &hc, &r), *all = json_object_get(reply, "stopped");

	if (r == EXIT_OK && json_array_size(all) == 0 && strcmp(which, "all") != 0)
		r = cli_error(cli, 1017, "'%s' is neither a number nor the host of one", which);
	json_array_foreach(all, i, o)
		printf("Stopped number %d, %s\n", (int)hub_json_int(o, "id", 0), hub_json_string(o, "host"));
	if (json_array_size(all) > 0)
		wait_for_end(hc);
	json_decref(reply);
	hub_client_close(hc);
	return r;
}
