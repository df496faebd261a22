/* What an SFTP server sends, into sessions that read, write, list and remove: any bytes give an error or a value. */
#include <stdlib.h>

#include "ssh/fs.h"

static void op(struct fs_session *s, uint32_t id, enum ssh_op kind)
{
	struct ssh_buf b = { 0 };
	uint8_t k = (uint8_t)kind;
	enum err e = ssh_put_u32(&b, id);

	if (e == OK)
		e = ssh_buf_add(&b, &k, 1);
	if (e == OK)
		e = ssh_put_string(&b, "x", 1);
	for (int i = 0; i < 8 && e == OK; i++)
		e = ssh_put_u32(&b, 1);
	if (e == OK && fs_session_frame(s, 0, SSH_F_OP, (struct bytes){ b.p, ssh_buf_used(&b) }) != OK)
		abort();
	ssh_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum ssh_op kinds[] = { SSH_OP_GET, SSH_OP_PUT, SSH_OP_LS, SSH_OP_FIND, SSH_OP_RM, SSH_OP_DF, SSH_OP_MKDIR,
					       SSH_OP_MV };
	struct sftp_client *c = malloc(sizeof(*c));
	struct ssh_buf out = { 0 };
	struct sftp_reply r;
	struct fs_session s;

	if (sftp_decode((struct bytes){ data, size }, &r) == OK && r.data.len > size)
		abort();
	if (!c || sftp_client_init(c, 0) != OK)
		abort();
	fs_session_init(&s, c, &out, 1 << 20);
	s.root = size > 0 && data[0] >> 6 & 1 ? "/r" : NULL;
	/* The first byte says with which extensions and in a root or not, the second what is asked; the rest is what the server says. */
	for (int x = 0; x < SFTP_X_N; x++)
		c->has[x] = size > 0 && data[0] >> x & 1;
	c->ready = size > 0 && data[0] >> 7;
	for (uint32_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (size > 1 && data[1] >> i & 1 && c->ready)
			op(&s, i, kinds[i]);
	for (size_t at = 2; at < size; at += 16) {
		if (ssh_buf_add(&c->in, data + at, MIN((size_t)16, size - at)) != OK)
			abort();
		sftp_client_input(c, at);
		fs_session_step(&s, at);
		ssh_buf_drop(&out, ssh_buf_used(&out));
	}
	fs_session_fini(&s);
	sftp_client_fini(c);
	ssh_buf_fini(&out);
	free(c);
	return 0;
}
