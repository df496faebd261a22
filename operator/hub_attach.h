/* operator/hub_attach.h - reaching the hub without printing anything. */
#ifndef OPERATOR_HUB_ATTACH_H
#define OPERATOR_HUB_ATTACH_H

#include "operator/hub_client.h"

/**
 * hub_attach() - connect to the hub of @home, or start a transient one first when @may_start
 * @config: the file that a hub must have loaded to be the right one
 * @ret: set also on an error (but ERR_NOMEM), for hub_client_message(); close it in any case
 *
 * Return: OK; ERR_NOT_FOUND: no hub runs (and @may_start is false); ERR_IN_USE: the running hub has another
 * configuration, or no UDP port is free; ERR_VERSION; ERR_TIMEOUT (10 s); what the hub said when it could not start.
 */
MUST_CHECK enum err hub_attach(const char *home, const char *config, bool may_start, struct hub_client **ret);

#endif
