package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// landlockVersion returns the version of Landlock that the system offers.
func landlockVersion() (int, error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, fmt.Errorf("this system does not offer Landlock: %w", errno)
	}
	return int(v), nil
}

// landlockRules are all rights that version v knows. A ruleset that handles a right and has no rule denies it.
func landlockRules(v int) (r unix.LandlockRulesetAttr, size uintptr) {
	// A system refuses a ruleset with bits that it does not know, and one that is longer than it knows unless the rest is zero.
	files := 13                            // LANDLOCK_ACCESS_FS_EXECUTE to _MAKE_SYM
	for _, since := range []int{2, 3, 5} { // _REFER, _TRUNCATE, _IOCTL_DEV
		if v >= since {
			files++
		}
	}
	r.Handled_access_fs = 1<<files - 1
	if v >= 4 {
		r.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if v >= 6 {
		r.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return r, unsafe.Sizeof(r)
}

// restrictFiles denies all threads every access to files, and what else Landlock can deny.
func restrictFiles() error {
	version, err := landlockVersion()
	if err != nil {
		return err
	}
	rules, size := landlockRules(version)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules)), size, 0)
	runtime.KeepAlive(&rules)
	if errno != 0 {
		return fmt.Errorf("make a Landlock ruleset of version %d: %w", version, errno)
	}
	defer unix.Close(int(fd))
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		if errno == syscall.ENOTSUP {
			return errors.New("this program is built with cgo")
		}
		return fmt.Errorf("enforce Landlock: %w", errno)
	}
	return nil
}
