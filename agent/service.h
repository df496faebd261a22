/* agent/service.h - the agent as a service of systemd: of the system when root asks, else of this user. */
#ifndef AGENT_SERVICE_H
#define AGENT_SERVICE_H

#include "base/err.h"
#include "base/types.h"

/**
 * agent_service_install() - write the unit, enable it, and start the agent with @config, again if it runs already
 * @why: what failed, for a person
 * Return: OK once the agent has said that it is ready; ERR_UNSUPPORTED: no systemd, or it could not start; ...
 */
MUST_CHECK enum err agent_service_install(const char *config, char *why, size_t why_size);
/** agent_service_remove() - stop it and remove the unit. ERR_NOT_FOUND: there is none. */
MUST_CHECK enum err agent_service_remove(char *why, size_t why_size);
/**
 * agent_service_unit() - the text of the unit, to be freed; NULL when out of memory
 * @program, @config: absolute paths without characters that systemd would read otherwise
 */
char *agent_service_unit(const char *program, const char *config, bool system, bool needs_override);

#endif
