/* ssh/setup.c - see setup.h. */
#include "ssh/setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssh/fs_session.h"

bool ssh_ident_is_locked(const struct ssh_ident *id)
{
	return id->text.len > 0 && !id->key.private;
}

enum err ssh_ident_try(struct ssh_ident *id, const char *passphrase)
{
	const char *why;
	enum err e = ssh_key_read(ssh_blob_view(&id->text), passphrase, &id->key, &why);

	if (e == ERR_AUTH)
		return e;
	if (e != OK)
		snprintf(id->why, sizeof(id->why), "%s", why);
	ssh_blob_fini(&id->text);
	return e;
}

/* The private key, as far as it can be read without a passphrase; @public: the file beside it, or empty. */
static void take_key(struct ssh_ident *id, struct bytes private, struct bytes public)
{
	struct ssh_blob beside = { 0 };

	if (public.len && ssh_key_read_public(public, &beside) == OK)
		id->key.pub = beside;
	if (!private.len) {
		if (!id->key.pub.len)
			snprintf(id->why, sizeof(id->why), "neither a private key nor a public one");
		return;
	}
	if (ssh_blob_set(&id->text, private) != OK)
		snprintf(id->why, sizeof(id->why), "%s", err_text(ERR_NOMEM));
	else if (ssh_ident_try(id, NULL) == ERR_AUTH)
		return; /* locked: in time */
}

static void read_ident(struct ssh_reader *r, struct ssh_ident *id)
{
	struct bytes private, public, certificate;
	char path[SSH_IDENT_PATH_MAX + 1];

	ssh_read_text(r, path, sizeof(path));
	id->path = strdup(path);
	r->bad |= !id->path;
	ssh_read_text(r, id->why, sizeof(id->why));
	private = ssh_read_string(r);
	public = ssh_read_string(r);
	certificate = ssh_read_string(r);
	id->is_agent = strcmp(path, "agent") == 0;
	if (r->bad || id->why[0] || id->is_agent)
		return;
	take_key(id, private, public);
	if (certificate.len && ssh_key_read_public(certificate, &id->certificate) == OK && id->key.pub.len &&
	    !ssh_key_is_certificate_of(ssh_blob_view(&id->certificate), ssh_blob_view(&id->key.pub)))
		ssh_blob_fini(&id->certificate);
}

bool ssh_setup_read(struct ssh_reader *r, struct ssh_setup *s)
{
	uint32_t n;

	ssh_read_text(r, s->host, sizeof(s->host));
	ssh_read_text(r, s->user, sizeof(s->user));
	ssh_read_text(r, s->key_types, sizeof(s->key_types));
	s->file_size_max = ssh_read_u64(r);
	s->list_max = ssh_read_u64(r);
	ssh_read_text(r, s->root, sizeof(s->root));
	s->idle_s = ssh_read_u32(r);
	s->has_agent = ssh_read_u32(r) != 0;
	n = ssh_read_u32(r);
	for (uint32_t i = 0; i < n && i < N_IDENTITIES_MAX && !r->bad; i++) {
		read_ident(r, &s->ids[s->n_ids]);
		s->n_ids += !r->bad;
	}
	return !r->bad;
}
