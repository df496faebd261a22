/* agent/holders.c - see holders.h. */
#include "agent/holders.h"

#include <string.h>

void agent_holders_note(struct agent_holders *h, const struct wg_public_key *key, const struct agent_holder *caller)
{
	struct agent_holder *place = &h->v[0];

	/* The place in the configuration is another operator's now. */
	if (memcmp(&h->key, key, sizeof(*key)) != 0)
		*h = (struct agent_holders){ .key = *key };
	for (size_t i = 0; i < AGENT_HOLDERS_MAX; i++) {
		if (h->v[i].since_ms == caller->since_ms) {
			place = &h->v[i];
			break;
		}
		if (h->v[i].at < place->at)
			place = &h->v[i];
	}
	*place = *caller;
}
