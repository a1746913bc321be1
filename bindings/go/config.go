package causerie

/*
#include <causerie.h>
*/
import "C"

import "runtime"

// Config holds the settings of every stage. Where a function takes one, nil means the defaults.
type Config struct {
	h noun[*C.causerie_config]
}

// NewConfig gives every setting its documented default, then reads toml over them ("" for none).
func NewConfig(toml string) (*Config, error) {
	var l loan
	defer l.end()
	c := &Config{}
	runtime.SetFinalizer(c, (*Config).Close)
	l.making(c.Close)
	text, n := bytesOf([]byte(toml))
	err := l.call(func() *C.causerie_error {
		if failure := C.causerie_config_new(&c.h.p); failure != nil {
			return failure
		}
		return C.causerie_config_read(c.h.p, text, n)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// lend is the handle for C; nil is NULL, which means the defaults.
func (c *Config) lend(l *loan) *C.causerie_config {
	if c == nil {
		return nil
	}
	return c.need(l)
}

// need is the handle for C.
func (c *Config) need(l *loan) *C.causerie_config {
	if c == nil || c.h.p == nil {
		l.missing("config", c == nil)
		return nil
	}
	l.live = append(l.live, c)
	return c.h.p
}

// Set sets a key from text: Set("select.budget", "500"). Lists: "a,b" or TOML. Invalid for an unknown key (the message names the
// nearest known one) and for a value out of bounds; nothing is changed then. Alone.
func (c *Config) Set(key, value string) error {
	var l loan
	defer l.end()
	p, k := c.need(&l), l.name("key", key)
	// "" is a value, too.
	v := l.name("value", value)
	if v == nil && l.err == nil {
		v = l.copied("")
	}
	return l.call(func() *C.causerie_error { return C.causerie_config_set(p, k, v) })
}

// Read reads TOML over the current values, all or nothing. Alone.
func (c *Config) Read(toml string) error {
	var l loan
	defer l.end()
	p := c.need(&l)
	text, n := bytesOf([]byte(toml))
	return l.call(func() *C.causerie_error { return C.causerie_config_read(p, text, n) })
}

// Get is the value of a key as TOML: texts are in quotes.
func (c *Config) Get(key string) (string, error) {
	var l loan
	defer l.end()
	p, k := c.need(&l), l.name("key", key)
	if l.err != nil {
		return "", l.err
	}
	return c.h.text("config", func() (out *C.char, failure *C.causerie_error) {
		failure = C.causerie_config_get(p, k, &out)
		return out, failure
	})
}

// TOML is every setting with its value, as Read reads it.
func (c *Config) TOML() (string, error) {
	var l loan
	defer l.end()
	p := c.need(&l)
	if l.err != nil {
		return "", l.err
	}
	return c.h.text("config", func() (out *C.char, failure *C.causerie_error) {
		failure = C.causerie_config_toml(p, &out)
		return out, failure
	})
}

// Close ends the settings.
func (c *Config) Close() {
	if c == nil {
		return
	}
	c.h.lent.Lock()
	defer c.h.lent.Unlock()
	C.causerie_config_free(c.h.p)
	c.h.shut = true
}

// Setting is one row of the table of settings.
type Setting struct{ Key, Kind, Initial, Bounds, Doc string }

// Settings lists every setting.
func Settings() []Setting {
	settings := make([]Setting, 0, int(C.causerie_config_count()))
	for i := C.size_t(0); ; i++ {
		s := C.causerie_config_setting(i)
		if s == nil {
			return settings
		}
		settings = append(settings, Setting{
			C.GoString(s.key), C.GoString(s.kind), C.GoString(s.initial), C.GoString(s.bounds), C.GoString(s.doc),
		})
	}
}
