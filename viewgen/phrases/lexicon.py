"""List English words with their tags, as they are without context.
Leaves out: the meaning of the tags and the effect of the context (words.py). Data alone."""

from __future__ import annotations


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


def _table(listed: dict[str, str]) -> dict[str, str]:
    return {word: tag for tag, words in listed.items() for word in words.split()}


TAG_OF_WORD = _table(
    {
        "D": "the a an this that these those some each every any another no all",
        "U": "his her their its my your our",
        "W": "what which who whom whose when why how",
        "e": "where",
        "B": "is are was were be been being",
        "A": "does do did can could will would should must may might have has had",
        "F": "of for",
        "P": """
            in on at by with without from to into onto through along across around against within off upon toward
            towards up down out during before after among amongst via per like as about past considering regarding
        """,
        "M": "it he she they you i we him them me us there here something anything someone anyone everything",
        "C": "or nor",
        "&": "and",
        "b": "both",
        "x": "not also currently actually still most likely mainly mostly exactly please then if so than only",
        "L": """
            color colors colour colours shape shapes material materials size pattern texture brand type types kind
            kinds sort style make model gender age breed state status condition position location motion movement
            speed direction orientation intention purpose function height width length depth weight price cost value
            percentage amount revenue population mood emotion expression activity role occupation species design
            theme nationality language origin posture temperature
        """,
        "T": """
            number numbers digit digits letter letters word words text texts symbol symbols code name names logo
            logos time times title titles character characters message slogan date dates year phrase sentence
            inscription caption address author item items detail details website url team writing information
        """,
        "J": """
            red green blue yellow black white gray grey brown purple violet pink orange beige golden silver dark
            light bright pale colorful colourful wooden metallic plastic open closed shut empty full wet dry clean
            dirty young old new big large small tall short long wide narrow thick thin high low round rectangular
            circular triangular curved straight flat clear cloudy sunny overcast male female visible alive asleep
            awake broken lit level even upright horizontal vertical striped plain transparent heavy deep hot cold
            same different similar present safe busy far alone bald left right lower upper bigger larger smaller
            taller shorter longer higher closer nearer farther further wider brighter darker older younger newer
            thicker thinner heavier straighter
        """,
        "Z": """
            written printed shown displayed painted drawn stated stamped engraved listed indicated labelled labeled
            marked embroidered carved depicted pictured inscribed featured tattooed advertised
        """,
        "R": """
            worn held made used kept set hung built cut torn bent caught taken seen placed tied put sold bound
            driven ridden eaten thrown
        """,
        "V": """
            wear wears hold holds carry carries look looks seem seems appear appears contain contains belong belongs
            face faces touch touches point points rest rests stand stands sit sits lie lies hang hangs cover covers
            spread spreads stick sticks grow grows serve serves lean leans cost costs weigh weighs close closes play
            plays cross crosses support supports hit hits use uses eat eats drink drinks fit fits fork forks match
            matches run runs walk walks go goes come comes lead leads start starts end ends turn turns work works
            sell sells buy buys wrote makes produced produces need needs happen happens separate separates surround
            surrounds connect connects see sees park parks stop stops drive drives ride rides fly flies jump jumps
            pull pulls push pushes feed feeds keep keeps take takes give gives get gets bring brings wait waits live
            lives tell identify describe find
        """,
        "Y": """
            say says read reads show shows display displays mention mentions indicate indicates spell spells
            advertise advertises depict depicts feature features represent represents announce announces
        """,
    }
)
"""Word in lower case -> tag, one of the letters in words.py's docstring."""

ALSO_NOUNS = _words(
    """
    face faces point points rest stand stands cover covers play cross crosses support supports drink drinks fork
    forks match matches run walk lead start end ends turn turns work park parks stop stops drive ride rides jump
    spread display displays feature features use show shows
    """
)
"""Verbs that are nouns where no verb can follow: "the bus stop"."""
NO_ED = _words("red bed shed sled seed weed feed breed speed need reed steed tweed moped")
"""Words in -ed that are not past forms."""
NO_ING = _words(
    """
    thing things ring string wing ceiling building painting railing awning morning evening clothing sling swing
    spring sting earring sibling pudding wedding drawing icing lightning opening parking swimming dining shopping
    living vending landing crossing advertising lettering writing marking lining
    """
)
"""Words in -ing that are nouns."""
