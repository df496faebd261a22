/* agent/config_internal.h - shared by the files that read agent.yaml. */
#ifndef AGENT_CONFIG_INTERNAL_H
#define AGENT_CONFIG_INTERNAL_H

#include "agent/config.h"
#include "base/conf.h"

/** agent_is_host_port() - NAME:PORT, ADDRESS:PORT or [V6]:PORT, with a port from 1 to 65535 */
bool agent_is_host_port(const char *s);
/** agent_config_read_later() - check the fields of features to come, name those that are set in @c->later */
void agent_config_read_later(struct conf_reader *r, const struct yaml_node *root, struct agent_config *c);

#endif
