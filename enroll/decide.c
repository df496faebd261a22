/* enroll/decide.c - see decide.h. The order of the checks is the order in which an error helps most. */
#include "enroll/decide.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static int by_id(const void *a, const void *b)
{
	return memcmp(((const struct enroll_invite *)a)->id, ((const struct enroll_invite *)b)->id, ENROLL_ID_LEN);
}

void enroll_invites_sort(struct enroll_invites *s)
{
	if (s->n > 0)
		qsort(s->v, s->n, sizeof(*s->v), by_id);
}

const struct enroll_invite *enroll_invites_find(const struct enroll_invites *s, const uint8_t id[ENROLL_ID_LEN])
{
	struct enroll_invite key;

	memcpy(key.id, id, ENROLL_ID_LEN);
	return s->n > 0 ? bsearch(&key, s->v, s->n, sizeof(*s->v), by_id) : NULL;
}

/* The token is the operator's own, and of this invite. */
static enum enroll_code check_token(const struct enroll_invite *inv, const uint8_t secret[KEY_LEN], const char *text,
				    struct enroll_token *ret)
{
	if (!enroll_token_is_signed(text, secret))
		return ENROLL_SIGNATURE;
	if (enroll_token_decode(text, ret) != OK)
		return ENROLL_VALIDATION;
	if (!ret->has_nonce)
		return ENROLL_NO_NONCE;
	if (sodium_memcmp(ret->nonce, inv->nonce, ENROLL_NONCE_LEN) != 0 || strcmp(ret->host_id, inv->host_id) != 0)
		return ENROLL_VALIDATION;
	return ENROLL_OK;
}

static enum enroll_code check_use(const struct enroll_invite *inv, const uint8_t agent[KEY_LEN], bool known, bool *ret_again)
{
	bool is_fleet = inv->host_id[0] == '\0';

	*ret_again = is_fleet ? known : inv->used && memcmp(inv->agent, agent, KEY_LEN) == 0;
	if (*ret_again)
		return ENROLL_OK;
	if (is_fleet ? inv->n_used >= inv->n_uses_max : inv->used)
		return ENROLL_USED;
	return ENROLL_OK;
}

enum enroll_code enroll_decide(const struct enroll_invite *inv, const uint8_t secret[KEY_LEN], const struct enroll_request *req,
			       const uint8_t agent[KEY_LEN], bool known, uint64_t wall, bool *ret_again)
{
	struct enroll_token t = { .enroll_port = 0 };
	enum enroll_code c;

	*ret_again = false;
	if (!inv || inv->revoked)
		return ENROLL_VALIDATION;
	c = check_token(inv, secret, req->token, &t);
	if (c == ENROLL_OK)
		c = check_use(inv, agent, known, ret_again);
	/* An answer that was lost is given again also after the time is over. */
	if (c == ENROLL_OK && !*ret_again && (wall >= t.expires || wall >= inv->expires))
		c = ENROLL_EXPIRED;
	sodium_memzero(&t, sizeof(t));
	return c;
}
