/*
 * operator/hub_kept.h - the file of forwards in the background: what the next hub takes up again.
 *
 *	{"version":1,"forwards":[{"id":1,"host":"web","ports":1,"args":["web","8080:localhost:80"]}]}
 */
#ifndef OPERATOR_HUB_KEPT_H
#define OPERATOR_HUB_KEPT_H

#include <stddef.h>

#include <jansson.h>

#include "base/err.h"
#include "operator/forward_spec.h"

#define KEEPS_MAX 32 /* each is a client of the hub too, of whom there are HUB_CLIENTS_MAX */
#define KEPT_ARGS_MAX 80
#define KEPT_HOST_MAX 64

/**
 * hub_kept_read() - the forwards in the file at @path
 * @ret: an array of objects, each with "id" (1 and up), "host", "ports" and "args" within the limits; free it
 *
 * No file is an empty array. Total.
 * Return: OK; ERR_FORMAT: damaged; ERR_VERSION: of a newer Nefia; what reading it gave.
 */
MUST_CHECK enum err hub_kept_read(const char *path, json_t **ret);

/** hub_kept_write() - put @forwards, such an array, in the place of the file; the old content or the new */
MUST_CHECK enum err hub_kept_write(const char *path, const json_t *forwards);

/** hub_kept_matches() - does @which of a person ("all", a number, a host) mean the forward @id to @host? */
bool hub_kept_matches(const char *which, unsigned id, const char *host);

/**
 * hub_kept_pin() - @arg of a person with the port that it got, when it had asked for any
 * @said: the line that told it, "Forwarding 127.0.0.1:4711 to ..."
 *
 * Return: a string to free, which asks for that very port; NULL: nothing is to be changed.
 */
char *hub_kept_pin(const char *arg, bool with_target, const char *said);

#endif
