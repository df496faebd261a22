/* Key files: any bytes are read as a private key without a passphrase, as a public key, and as a certificate of each other. */
#include "ssh/key.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes file = { data, size };
	struct ssh_key k = { 0 };
	struct ssh_blob pub = { 0 }, sig = { 0 };
	const char *why = NULL;
	char type[64];
	enum err e = ssh_key_read(file, NULL, &k, &why);

	ASSERT(e == OK || why);
	ASSERT((e == OK) == (k.private != NULL));
	if (e == OK) {
		ASSERT(ssh_key_type(ssh_blob_view(&k.pub), type));
		if (ssh_key_sign(&k, type, file, &sig) == OK)
			ASSERT(sig.len > 0);
		ssh_blob_fini(&sig);
	}
	ssh_key_is_certificate_of(file, ssh_blob_view(&k.pub));
	if (ssh_key_read_public(file, &pub) == OK) {
		ASSERT(ssh_key_type(ssh_blob_view(&pub), type));
		ASSERT(!ssh_key_is_certificate_of(ssh_blob_view(&pub), ssh_blob_view(&pub)));
	}
	ssh_blob_fini(&pub);
	ssh_key_fini(&k);
	return 0;
}
