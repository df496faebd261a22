/*
 * operator/hub_client.h - how a command reaches the hub, or becomes the first user of a transient one.
 *
 * The hub serves a Unix socket (0600). When none answers and @may_start, a hub process is started in the
 * background that ends with its last user: one key is never used by two processes at once. Requests and replies
 * are JSON, one object a message, each with a version; unknown fields are ignored. All calls block, with a deadline.
 */
#ifndef OPERATOR_HUB_CLIENT_H
#define OPERATOR_HUB_CLIENT_H

#include <jansson.h>

#include "base/err.h"
#include "base/types.h"

struct cli;
struct hub_client;

/** hub_client_new() - not connected yet; @wake_fd: when it is readable every wait ends with ERR_CANCELLED; -1 = none */
struct hub_client *hub_client_new(int wake_fd);
/**
 * hub_client_connect() - to the hub at @socket_path, which must have loaded @config
 * Return: OK; ERR_NOT_FOUND: no hub runs; ERR_IN_USE: it has another configuration; ERR_VERSION; ERR_PERMISSION: another user's.
 */
MUST_CHECK enum err hub_client_connect(struct hub_client *hc, const char *socket_path, const char *config);
/** hub_client_open() - attach, or start a transient hub first. Prints the error for the user itself. */
MUST_CHECK enum err hub_client_open(struct cli *cli, bool may_start, struct hub_client **ret);
/** hub_tell_reload() - have a hub that runs read nefia.yaml again; nothing when none does */
void hub_tell_reload(struct cli *cli);
void hub_client_close(struct hub_client *hc);
/**
 * hub_client_call() - one request {"op": op, ...@args}; steals @args (may be NULL)
 * @ret_fd: a descriptor that came with the reply, -1 = none; may be NULL
 * Return: OK with *ret_reply (json_decref it); otherwise an error whose text is in hub_client_message() and
 * whose E-code is in hub_client_ecode() (0 = none given).
 */
MUST_CHECK enum err hub_client_call(struct hub_client *hc, const char *op, json_t *args, nsec_t timeout,
				    json_t **ret_reply, int *ret_fd);
/** hub_client_send() - the first half of a call; steals @args */
MUST_CHECK enum err hub_client_send(struct hub_client *hc, const char *op, json_t *args, nsec_t timeout);
/** hub_client_receive() - the second half */
MUST_CHECK enum err hub_client_receive(struct hub_client *hc, nsec_t timeout, json_t **ret_reply, int *ret_fd);
/** hub_client_fd() - readable when a reply, or the hub's end, is there; -1 = not connected */
int hub_client_fd(const struct hub_client *hc);
/** hub_client_fail() - keep the text and the code of an error. Return: @e */
enum err hub_client_fail(struct hub_client *hc, enum err e, unsigned ecode, const char *fmt, ...) PRINTF_LIKE(4, 5);
/** hub_client_take_error() - the same from a reply or a report. Return: its error, never OK */
enum err hub_client_take_error(struct hub_client *hc, const json_t *reply);
/** hub_client_session() - a socket that speaks ssh/session.h to @host's worker (op "session") */
MUST_CHECK enum err hub_client_session(struct hub_client *hc, const char *host, nsec_t timeout, int *ret_fd);
/** hub_client_dial() - a raw stream through the tunnel to @host's agent port @port (op "dial") */
MUST_CHECK enum err hub_client_dial(struct hub_client *hc, const char *host, unsigned port, nsec_t timeout,
				    int *ret_fd);
/** hub_client_wait_end() - wait until the hub closes the connection, or a signal comes that was caught */
void hub_client_wait_end(struct hub_client *hc);
/** hub_client_is_connected() - false: the hub ended, or did not answer in time */
bool hub_client_is_connected(const struct hub_client *hc);
/** hub_client_pid() - of the process at the other end of the socket, also after it was lost; 0 = none was reached */
int hub_client_pid(const struct hub_client *hc);
const char *hub_client_message(const struct hub_client *hc);
unsigned hub_client_ecode(const struct hub_client *hc);

#endif
