"""Linux's system calls that a computation never makes, by their numbers.

Source: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

from collections.abc import Iterator

COLUMNS = ("x86_64", "aarch64")

# A name and its number in each column; `-` where an architecture does not have the call.
_REFUSED = """
# Networks, and other processes by sockets
socket 41 198
socketpair 53 199
connect 42 203
bind 49 200
listen 50 201
accept 43 202
accept4 288 242
# Programs and processes
execve 59 221
execveat 322 281
fork 57 -
vfork 58 -
kill 62 129
tkill 200 130
rt_sigqueueinfo 129 138
rt_tgsigqueueinfo 297 240
pidfd_open 434 434
pidfd_send_signal 424 424
pidfd_getfd 438 438
ptrace 101 117
process_vm_readv 310 270
process_vm_writev 311 271
process_madvise 440 440
process_mrelease 448 448
kcmp 312 272
# Memory and messages that processes share
shmget 29 194
shmat 30 196
shmctl 31 195
semget 64 190
semctl 66 191
semop 65 193
msgget 68 186
msgctl 71 187
msgsnd 69 189
msgrcv 70 188
mq_open 240 180
mq_unlink 241 181
# Files
creat 85 -
unlink 87 -
unlinkat 263 35
rename 82 -
renameat 264 38
renameat2 316 276
mkdir 83 -
mkdirat 258 34
rmdir 84 -
mknod 133 -
mknodat 259 33
link 86 -
linkat 265 37
symlink 88 -
symlinkat 266 36
chmod 90 -
fchmod 91 52
fchmodat 268 53
fchmodat2 452 452
chown 92 -
lchown 94 -
fchown 93 55
fchownat 260 54
setxattr 188 5
lsetxattr 189 6
fsetxattr 190 7
removexattr 197 14
lremovexattr 198 15
fremovexattr 199 16
utime 132 -
utimes 235 -
futimesat 261 -
utimensat 280 88
truncate 76 45
ftruncate 77 46
fallocate 285 47
openat2 437 437
open_by_handle_at 304 265
fanotify_init 300 262
# The system, which only root could touch, and some run everything as root
mount 165 40
umount2 166 39
pivot_root 155 41
open_tree 428 428
move_mount 429 429
fsopen 430 430
fsconfig 431 431
fsmount 432 432
fspick 433 433
mount_setattr 442 442
unshare 272 97
setns 308 268
chroot 161 51
keyctl 250 219
add_key 248 217
request_key 249 218
init_module 175 105
finit_module 313 273
delete_module 176 106
kexec_load 246 104
kexec_file_load 320 294
reboot 169 142
swapon 167 224
swapoff 168 225
settimeofday 164 170
clock_settime 227 112
clock_adjtime 305 266
adjtimex 159 171
sethostname 170 161
setdomainname 171 162
acct 163 89
syslog 103 116
quotactl 179 60
iopl 172 -
ioperm 173 -
# Ways into the kernel that need none of the above
bpf 321 280
io_uring_setup 425 425
io_uring_enter 426 426
perf_event_open 298 241
userfaultfd 323 282
"""

# Those that graphics drivers need all the same: for memory of their own that has no name, and to
# tell whether two open files are one. No file can be opened for writing that Landlock forbids.
OF_DRIVERS = frozenset({"ftruncate", "fallocate", "kcmp"})

# Calls that are judged by an argument.
OPENAT = (257, 56)
OPEN = (2, None)
CLONE = (56, 220)
CLONE3 = 435
TGKILL = (234, 131)
PRCTL = (157, 167)
PRLIMIT = (302, 261)
SECCOMP = (317, 277)


def refused() -> Iterator[tuple[str, tuple[int | None, int | None]]]:
    """Every refused call with its numbers."""
    for line in _REFUSED.split("\n"):
        if line and not line.startswith("#"):
            name, x86, arm = line.split()
            yield name, (_number(x86), _number(arm))


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)
