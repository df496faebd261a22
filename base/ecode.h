/* base/ecode.h - the errors that people see: one table of codes, titles and next steps. doc/errors.md lists them. */
#ifndef BASE_ECODE_H
#define BASE_ECODE_H

/* X(number, title, what to try) */
#define ECODE_LIST(X)                                                                              \
	X(1001, "No configuration found", "Run 'nefia init' first, or name the file with --config.")   \
	X(1002, "The configuration is not valid", "Correct the line that is named, then run the command again.") \
	X(1003, "The configuration can be read by others", "Run: chmod 600 on the file that is named.") \
	X(1004, "VPN setup failed",                                                                \
	  "Check that no other VPN or WireGuard instance is using the same listen port (default: 51820).") \
	X(1005, "The configuration exists already", "Edit it, or move it away first; it holds your key.") \
	X(1006, "The configuration could not be written", "Check the folder's permissions and the free space.") \
	X(1007, "Another process is changing the configuration", "Wait for it to end, then run the command again.") \
	X(1008, "There is no home folder to keep files in", "Set HOME; or NEFIA_HOME, to the folder for Nefia's files.") \
	X(1011, "The hub could not be started", "See 'nefia hub logs', or run 'nefia hub' to watch it.") \
	X(1012, "A hub is already running", "Use it as it is, or stop it with 'nefia hub stop'.")          \
	X(1013, "No hub is running", "Start one with 'nefia hub'.")                                    \
	X(1014, "The running hub has another version", "Stop it with 'nefia hub stop' and run the command again.") \
	X(1015, "The hub did not answer", "See 'nefia hub logs'; 'nefia hub stop' ends a hub that hangs.") \
	X(1016, "The port could not be opened", "Choose another port, or 0 for one that is free.") \
	X(1017, "No such forward", "See 'nefia forward --list' for those in the background.") \
	X(1018, "The host cannot reach the target", "Check that something listens there, and how the host knows it by name.") \
	X(1021, "No such host", "See 'nefia host list' for the hosts, groups and tags there are.")       \
	X(1022, "The host exists already", "Choose another name, or remove it with 'nefia host remove'.") \
	X(1023, "The key is not valid", "A key is 44 characters of base64, as 'nefia-agent keygen' prints it.") \
	X(1024, "The address is not valid or not free", "Leave --vpn-addr out to take the next free one.") \
	X(1031, "The host did not answer through the tunnel",                                              \
	  "Check that nefia-agent runs there, and its endpoint and key: 'nefia vpn status --live'.")         \
	X(1032, "The host's SSH server cannot be reached", "Check that sshd runs there and that ssh_addr in agent.yaml names it.") \
	X(1033, "The host's key has changed",                                                              \
	  "Somebody may be in between. If the change is known, remove the line that is named from known_hosts.") \
	X(1034, "The host refused to log in", "Check user and ssh.identities; the public key must be in its authorized_keys.") \
	X(1035, "The time limit was reached", "Raise --timeout, or look at what the command waits for.")      \
	X(1036, "The connection to the host was lost", "Run the command again; 'nefia vpn status --live' shows the tunnel.") \
	X(1037, "The SSH worker ended, or could not be started", "See 'nefia hub logs'; then run the command again.")    \
	X(1038, "The host rests after failures in a row",                                                  \
	  "Wait for the time that is named, or try at once after 'nefia hub retry HOST'.")                    \
	X(1039, "No SSH algorithm in common with the host",                                                \
	  "Have its sshd offer one of ours as well (KexAlgorithms, HostKeyAlgorithms, Ciphers, MACs), or update it.") \
	X(1040, "The host's SSH server does not allow this",                                               \
	  "Its sshd_config decides: AllowTcpForwarding, PermitListen, PermitTTY, MaxSessions, Subsystem sftp, ForceCommand.") \
	X(1041, "A local file could not be used", "Check the path, its permissions and the free space.")      \
	X(1042, "A remote file could not be used", "Check the path, its permissions and the free space there.") \
	X(1043, "The setting was refused", "Check the value; 'nefia wg --help' shows the forms.") \
	X(1044, "ssh's configuration could not be changed", "Correct what is named, or add the lines of 'nefia ssh-config' by hand.") \
	X(1045, "A host lists more than the limit allows",                                                \
	  "Name a folder further down; or raise ssh.max_list_entries, then 'nefia hub reload'.") \
	X(1051, "No way for agents to reach this machine", "Give --endpoint IP:PORT, the address at which agents reach its WireGuard.") \
	X(1052, "Not every host enrolled in time", "Tokens stay valid until they expire: 'nefia vpn listen' waits again.") \
	X(1053, "The host is in another state", "See 'nefia vpn enroll-status --name ID'.") \
	X(1054, "The token cannot be read", "Copy the full token again, or make another with 'nefia vpn reinvite'.") \
	X(1055, "The exported file cannot be used", "Check the passphrase, and that the file was copied whole.") \
	X(1056, "Another hub lives with this operator's key", "Stop that one ('nefia hub stop' there); or have the key here: 'nefia hub reload'.") \
	X(1099, "Internal error", "Please report it, with the log of 'nefia hub logs'.")

struct ecode {
	unsigned number;
	const char *title;
	const char *hint;
};

/** ecode_find() - never NULL: an unknown number gives 1099's row */
const struct ecode *ecode_find(unsigned number);
/** ecode_at() - the table's rows in order, NULL after the last; for the tests and the manual */
const struct ecode *ecode_at(unsigned i);

#endif
