package v1

import "reflect"

// Whoever writes a password where a reference to one belongs must not find it
// again in a message, a log or the status: nothing of what stands in the place
// of a Password is repeated.

const wantRef = "must be {secretKeyRef: {name: …, key: …}}; the password itself never stands in a resource, but in a Secret, or the file local/secrets/NAME/KEY"

func (Password) checkTree(path string, v any) Errors {
	m, ok := v.(map[string]any)
	if !ok {
		return Errors{{path, wantRef}}
	}
	for _, k := range sortedKeys(m) {
		if k != "secretKeyRef" {
			return Errors{{path, wantRef}}
		}
	}
	return checkFields(path+".secretKeyRef", m["secretKeyRef"], reflect.TypeFor[SecretKeyRef]())
}

func (SecretKeyRef) checkTree(path string, v any) Errors {
	const want = "must be {name: …, key: …}, two strings that name a Secret and its key, or the file local/secrets/NAME/KEY"
	m, ok := v.(map[string]any)
	if !ok {
		return Errors{{path, want}}
	}
	for _, k := range sortedKeys(m) {
		if _, isString := m[k].(string); !isString || k != "name" && k != "key" {
			return Errors{{path, want}}
		}
	}
	return nil
}

// password checks a reference to a password, if there is one. What it names is a
// file below a directory, so neither part may lead elsewhere; a secret of
// Kubernetes keeps to this by itself.
func (c *checker) password(path string, p *Password) {
	if p == nil {
		return
	}
	if p.SecretKeyRef == nil {
		c.failf(path, wantRef)
		return
	}
	path += ".secretKeyRef"
	if !isSecretPart(p.SecretKeyRef.Name) {
		c.failf(path+".name", "is missing, or no name of a secret: at most 253 letters, digits, -, _ and ., the first one no .")
	}
	if !isSecretPart(p.SecretKeyRef.Key) {
		c.failf(path+".key", "is missing, or no key of a secret: at most 253 letters, digits, -, _ and ., the first one no .")
	}
}

func isSecretPart(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '.' {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return false
		}
	}
	return true
}
