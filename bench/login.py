"""`nefia exec true` beside OpenSSH's own client over plain loopback, against the same sshd with throw-away keys."""
import os
import shutil
import subprocess
import time

import tools as T

# SHLVL: the login shell of a user with a long .bashrc would otherwise be most of what is measured.
SSHD_CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {dir}/host_key
AuthorizedKeysFile {dir}/id.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin yes
MaxStartups 100
MaxSessions 100
SetEnv SHLVL=2
"""


def timed(*cmd, env=None):
    began = time.monotonic()
    subprocess.run(cmd, check=True, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return (time.monotonic() - began) * 1000


class Login(T.Nefia):
    """An installation whose far end is a real sshd."""

    def start_sshd(self):
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        if not os.path.exists(sshd):
            raise T.Skip("no sshd here")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        for key in ("host_key", "id"):
            T.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(self.dir, key))
        config = os.path.join(self.dir, "sshd_config")
        with open(config, "w") as f:
            f.write(SSHD_CONFIG.format(port=self.server_port, dir=self.dir))
        self.beside(sshd, "-D", "-e", "-f", config)
        T.wait_port(self.server_port)

    def ssh(self, *options):
        return ["ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.dir}/known",
                "-o", "LogLevel=ERROR", "-i", f"{self.dir}/id", "-p", str(self.server_port), *options, "127.0.0.1", "true"]


def measure_exec(n):
    """{"rows": [(name, ours ms, theirs ms)]}: N runs of each, in turn."""
    site = Login(T.free_port())
    try:
        site.start_sshd()
        site.start(user=os.environ.get("USER") or "root", identity=os.path.join(site.dir, "id"), forward=False)
        nefia = [os.path.join(T.BUILD, "nefia"), "exec", "--target", "far", "--", "true"]
        cold = dict(os.environ, NEFIA_HOME=site.alone())
        cold.pop("XDG_RUNTIME_DIR", None)
        mux = site.ssh("-o", f"ControlPath={site.dir}/mux", "-o", "ControlMaster=auto", "-o", "ControlPersist=60")
        for cmd, env in ((nefia, site.env), (nefia, cold), (mux, None), (site.ssh(), None)):
            timed(*cmd, env=env)
        warm, fresh, warm_ssh, fresh_ssh = [], [], [], []
        for _ in range(n):
            warm.append(timed(*nefia, env=site.env))
            warm_ssh.append(timed(*mux))
            fresh.append(timed(*nefia, env=cold))
            fresh_ssh.append(timed(*site.ssh()))
        subprocess.run(mux[:-2] + ["-O", "exit", "127.0.0.1"], capture_output=True)
        return {"rows": [("hub warm / multiplexed ssh", warm, warm_ssh), ("nothing running / fresh ssh", fresh, fresh_ssh)]}
    finally:
        site.stop()
        shutil.rmtree(site.dir, ignore_errors=True)
