// A small corpus, and in it a document that would like to be more than text.

export const HOSTILE = {
  id: "<img src=x onerror=alert(1)>",
  title: "<script>window.isOwned = true</script> boiled eggs",
  text: "An egg <img src=x onerror='window.isOwned = true'> is boiled &lt;b&gt;hard&lt;/b&gt; <b>in</b> water \"and\" salt & more.",
  lang: "en",
  year: 2001,
};

export const DOCUMENTS = [
  HOSTILE,
  { id: "e1", title: "Soft-boiled egg", text: "To soft-boil an egg, put it into boiling water for five to six minutes.", lang: "en", year: 1998 },
  { id: "e2", title: "Hard-boiled egg", text: "Eggs boiled for nine to twelve minutes are hard: white and yolk are both solid.", lang: "en", year: 2004 },
  { id: "e3", title: "Hens", text: "Hens lay an egg about once a day. How long they live depends on the breed. Eggs, eggs and eggs again.", lang: "en", year: 2010 },
  { id: "e4", title: "Boiling point", text: "Water boils at 100 degrees Celsius at sea level, and at less the higher you go. How long a kettle takes depends on it.", lang: "en", year: 1990 },
  { id: "e5", title: "Easter eggs", text: "Easter eggs are decorated, boiled or blown. How long the custom has been known nobody can tell.", lang: "en", year: 2012 },
  { id: "e6", title: "Poached egg", text: "A poached egg is cooked without its shell in water just below boiling, for three to four minutes.", lang: "en", year: 2015 },
  { id: "e7", title: "Omelette", text: "An omelette is made of beaten eggs, fried in butter or oil in a pan.", lang: "en", year: 1987 },
  { id: "e8", title: "Long jump", text: "The long jump is an event in which athletes jump as far as they can. How long is the run-up? As long as you like.", lang: "en", year: 2003 },
  { id: "e9", title: "Timer", text: "An egg timer shows how long something has been boiled; early ones were hourglasses.", lang: "en", year: 1975 },
  { id: "e10", title: "", text: "Do you boil your eggs from cold? Start counting once the water boils.", lang: "en", year: 2020 },
  { id: "e11", title: "Eier kochen", text: "How long? Eggs: fünf Minuten weich, zehn Minuten hart. Boil well.", lang: "de", year: 2009 },
  { id: "e12", title: "Egg (biology)", text: "An egg is an organic vessel in which an embryo begins to develop.", lang: "en", year: 1999 },
  { id: "e13", title: "Pasta", text: "Boil pasta for as long as the packet says, in plenty of salted water.", lang: "en", year: 2018 },
];

export const QUERY = "how long do you boil eggs";
