/* Token, request and reply of the enrollment on any bytes: total, and what is read is written and read again the same. */
#include <stdlib.h>
#include <string.h>

#include "enroll/form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t secret[KEY_LEN] = { 1 };

static void token(const char *text)
{
	struct enroll_token t, back;
	char again[ENROLL_TOKEN_MAX];

	enroll_token_is_signed(text, secret);
	if (enroll_token_decode(text, &t) != OK || enroll_token_encode(&t, secret, again) != OK)
		return;
	ASSERT(enroll_token_decode(again, &back) == OK && enroll_token_is_signed(again, secret));
	ASSERT(strcmp(t.host_id, back.host_id) == 0 && t.expires == back.expires);
}

static void request(struct bytes json)
{
	static struct enroll_request r, back;
	char *text;

	memset(&r, 0, sizeof(r));
	if (enroll_request_read(json, &r) != OK)
		return;
	text = enroll_request_write(&r);
	ASSERT(text && enroll_request_read((struct bytes){ (const uint8_t *)text, strlen(text) }, &back) == OK);
	ASSERT(strcmp(r.token, back.token) == 0 && r.n_host_keys == back.n_host_keys && r.listen_port == back.listen_port);
	free(text);
}

static void reply(struct bytes json)
{
	struct enroll_reply r = { .code = ENROLL_BUSY }, back;
	char *text;

	if (enroll_reply_read(json, &r) != OK)
		return;
	text = enroll_reply_write(&r);
	ASSERT(text && enroll_reply_read((struct bytes){ (const uint8_t *)text, strlen(text) }, &back) == OK);
	ASSERT(r.code == back.code && r.n_addrs == back.n_addrs && strcmp(r.host_id, back.host_id) == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	ASSERT(text);
	memcpy(text, data, size);
	text[size] = '\0';
	token(text);
	free(text);
	request((struct bytes){ data, size });
	reply((struct bytes){ data, size });
	return 0;
}
