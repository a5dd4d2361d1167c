package bgp

// String is the codes of n in words: "Cease: administrative shutdown".
func (n Notification) String() string { return notificationWords(n.Code, n.Subcode) }
