package malformed

// deviation is what the speaker does in place of what the clause asks.
type deviation struct {
	got outcome
	why string
}

// Reasons that several cases share. All are GoBGP's, where it cannot be helped
// from outside.
const (
	whyLost      = "GoBGP stops at the overrun and never reads the prefixes; we end the session, or the old route would stay"
	whyHidden    = "GoBGP tells the first of two errors only; when no withdrawals come we end the session, or the old route would stay"
	whyNothing   = "GoBGP does not tell an UPDATE of which nothing was read from one that announces nothing; we end the session"
	whyFlags     = "GoBGP judges the flags before it reads the prefixes of the attribute; we end the session, or the old route would stay"
	whyHeader    = "GoBGP names a bad length of a parameter an error of the header"
	whyParameter = "GoBGP takes optional parameters that it does not know"
	whyTrailing  = "GoBGP does not look behind the optional parameters"
	whyExtended  = "GoBGP does not know extended optional parameters; nobody needs 255 octets of capabilities here"
	whyShort     = "GoBGP names an UPDATE without its two lengths malformed, not of bad length"
	whyKeepalive = "GoBGP does not look at the body of a KEEPALIVE"
	whyZero      = "GoBGP ends the session with a NOTIFICATION of code 0"
	whyConfirm   = "GoBGP closes the connection without a NOTIFICATION"
	whySecond    = "GoBGP ignores an OPEN in session, and does not tell of it"
	whyAS4       = "GoBGP treats a malformed AS4_PATH or AS4_AGGREGATOR as withdrawal in place of discarding it"
	whyAS4Alone  = "GoBGP ends the session for an AS4_AGGREGATOR without AGGREGATOR"
	whyExternal  = "GoBGP looks at the length before it looks whether the neighbor is external"
	whyHopLength = "GoBGP takes next hops with a route distinguisher for every family; who owns the address is judged all the same"
	whyHop4      = "GoBGP takes an IPv4 next hop for an IPv6 prefix; we treat it as withdrawal"
	whyUnknown   = "GoBGP finds the flags wrong before it finds the attribute unknown"
)

// racy are cases that make GoBGP itself race: for LOCAL_PREF from another AS it
// changes a path that it has handed out already (server.propagateUpdate and
// table.Path.RemoveLocalPref of v4.8.0). They are left out only where the race
// detector would report that.
var racy = map[string]bool{"external: LOCAL_PREF": true, "external: malformed LOCAL_PREF": true}

// deviations are the known ones, by the name of the case. One that no longer
// deviates fails the test, so that the list stays true. docs/RFC7606.md says
// the same for people.
var deviations = map[string]deviation{
	"an overrun, with graceful restart":                       {resets(6, 4), whyLost},
	"list: three octets, extended length":                     {resets(6, 4), whyLost},
	"list: the last overruns by 200":                          {resets(6, 4), whyLost},
	"list: the last overruns the message":                     {resets(6, 4), whyLost},
	"list: an unknown one overruns":                           {resets(6, 4), whyLost},
	"list: discarded one overruns":                            {resets(6, 4), whyLost},
	"list: the first overruns":                                {resets(6, 4), whyLost},
	"length of attributes takes in a prefix":                  {resets(6, 4), whyLost},
	"length of attributes short by one":                       {resets(6, 4), whyLost},
	"MP_REACH behind what overruns":                           {resets(6, 4), whyLost},
	"withdrawn: with attributes that overrun":                 {resets(6, 4), whyLost},
	"list: the last overruns by one":                          {resets(6, 4), whyHidden},
	"list: the last is too long and overruns":                 {resets(6, 4), whyHidden},
	"an attribute of wrong length, and nothing announced":     {resets(6, 4), whyNothing},
	"list: a bad ORIGIN, and the last overruns":               {resets(6, 4), whyHidden},
	"MP_REACH: transitive":                                    {resets(6, 4), whyFlags},
	"MP_REACH: well-known":                                    {resets(6, 4), whyFlags},
	"MP_REACH: partial":                                       {resets(6, 4), whyFlags},
	"MP_UNREACH: transitive":                                  {resets(6, 4), whyFlags},
	"MP_UNREACH: partial":                                     {resets(6, 4), whyFlags},
	"OPEN: parameter longer than the rest":                    {resets(1, 2), whyHeader},
	"OPEN: half a parameter":                                  {resets(1, 2), whyHeader},
	"OPEN: parameters longer than the message":                {resets(1, 2), whyHeader},
	"OPEN of 4096 octets":                                     {resets(1, 2), whyHeader},
	"OPEN: parameter of type 0":                               {only(accepted), whyParameter},
	"OPEN: authentication parameter":                          {only(accepted), whyParameter},
	"OPEN: parameter of type 254":                             {only(accepted), whyParameter},
	"OPEN: parameter of type 255 among others":                {only(accepted), whyParameter},
	"OPEN: length of parameters 0, and parameters":            {only(accepted), whyTrailing},
	"OPEN: parameters shorter than the message":               {only(accepted), whyTrailing},
	"capability: half a header":                               {only(accepted), whyTrailing},
	"OPEN: extended parameters":                               {resets(1, 2), whyExtended},
	"OPEN: extended parameters, none":                         {resets(1, 2), whyExtended},
	"OPEN: extended parameters without length":                {resets(1, 2), whyExtended},
	"OPEN: extended parameters overrun":                       {resets(1, 2), whyExtended},
	"OPEN: AS 0, right in the capability":                     {only(accepted), "GoBGP does not look at My AS where there is a four-octet AS capability"},
	"UPDATE of 19 octets":                                     {resets(3, 1), whyShort},
	"UPDATE of 20 octets":                                     {resets(3, 1), whyShort},
	"UPDATE of 22 octets":                                     {resets(3, 1), whyShort},
	"KEEPALIVE with one octet":                                {only(ignored), whyKeepalive},
	"KEEPALIVE of 4096 octets":                                {only(ignored), whyKeepalive},
	"KEEPALIVE with a body, the first":                        {only(accepted), whyKeepalive},
	"MP_REACH: family never negotiated: labels":               {resets(0, 0), whyZero},
	"MP_REACH: family never negotiated: VPN":                  {resets(0, 0), whyZero},
	"MP_REACH of a family not negotiated":                     {resets(0, 0), whyZero},
	"MP_UNREACH of a family not negotiated":                   {resets(0, 0), whyZero},
	"MP_UNREACH: of an unknown family, empty":                 {resets(0, 0), whyZero},
	"End-of-RIB of an unknown family":                         {resets(0, 0), whyZero},
	"UPDATE before KEEPALIVE":                                 {only(closed), whyConfirm},
	"second OPEN before KEEPALIVE":                            {only(closed), whyConfirm},
	"ROUTE-REFRESH before KEEPALIVE":                          {only(closed), whyConfirm},
	"second OPEN in session":                                  {only(ignored), whySecond},
	"second OPEN in session, of another AS":                   {only(ignored), whySecond},
	"NOTIFICATION before OPEN":                                {resets(5, 1), "GoBGP answers a NOTIFICATION before OPEN by one of its own"},
	"AS4_PATH: malformed, from a four-octet speaker":          {only(withdrawn), whyAS4},
	"old: AS4_PATH with an empty segment":                     {only(withdrawn), whyAS4},
	"old: AS4_PATH of unknown segment type":                   {only(withdrawn), whyAS4},
	"old: AS4_PATH overrun":                                   {only(withdrawn), whyAS4},
	"old: AS4_PATH of 1 octet":                                {only(withdrawn), whyAS4},
	"old: AS4_AGGREGATOR of 7 octets":                         {only(withdrawn), whyAS4},
	"AS4_AGGREGATOR: from a four-octet speaker":               {resets(3, 1), whyAS4Alone},
	"AS4_AGGREGATOR: malformed":                               {resets(3, 1), whyAS4Alone},
	"old: AS4_AGGREGATOR alone":                               {resets(3, 1), whyAS4Alone},
	"AS4_PATH: from a four-octet speaker, as long as AS_PATH": {only(accepted), "GoBGP merges AS4_PATH whoever sends it; the first AS is judged after that"},
	"external: malformed ORIGINATOR_ID":                       {only(withdrawn), whyExternal},
	"external: malformed CLUSTER_LIST":                        {only(withdrawn), whyExternal},
	"external: malformed LOCAL_PREF":                          {only(withdrawn), whyExternal},
	"MP_REACH: next hop of 24 octets":                         {only(accepted), whyHopLength},
	"MP_REACH: next hop of 48 octets":                         {only(accepted), whyHopLength},
	"MP_REACH: next hop of 4 octets":                          {only(withdrawn), whyHop4},
	"MP_REACH: next hop of 12 octets":                         {only(withdrawn), whyHop4},
	"unknown: well-known, not transitive":                     {only(withdrawn), whyUnknown},
	"list: only zeroes":                                       {only(withdrawn), whyUnknown},
	"discarded and a well-known one unknown":                  {only(withdrawn), "GoBGP does not look at the other attributes once it has discarded one; we treat it as withdrawal"},
	"ORIGIN: low flag bits set":                               {only(withdrawn), "GoBGP does not ignore the unused bits of the flags"},
	"MED: twice, the second malformed":                        {only(withdrawn), "GoBGP looks at the second before it finds that it is one"},
	"AIGP: transitive":                                        {only(withdrawn), "GoBGP treats wrong flags alike for all attributes"},
	"ORIGINATOR_ID: our own":                                  {only(ignored), "GoBGP drops the path unseen, so that the one before it stays; only a reflector that returns our own routes sends this"},
}
