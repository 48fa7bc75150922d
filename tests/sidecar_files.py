"""Sidecars as other programs write them, for the tests of marks: written by hand from the published facts."""

# Attributes on one description, a history of edits, masks, hierarchical subjects, a comment.
DARKTABLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <!-- kept by hand -->
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:darktable="http://darktable.sf.net/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
   exif:DateTimeOriginal="2024:05:01 12:00:00.050"
   xmp:Rating="2"
   xmpMM:DerivedFrom="IMG_1.CR3"
   darktable:xmp_version="5"
   darktable:raw_params="0"
   darktable:auto_presets_applied="1">
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>people|Anna &amp; Zo\xc3\xab</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:num="0"
      darktable:operation="exposure"
      xmp:Rating="4"
      darktable:params="000000000000803f"/>
    </rdf:Seq>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
# Elements in several descriptions, single quotation marks, Windows line ends, a wrapper with padding, MicrosoftPhoto.
LIGHTROOM = (
    (
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\n"
        "<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Adobe XMP Core 7.0'>\n"
        "<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>\n"
        "<r:Description r:about='' xmlns:crs='http://ns.adobe.com/camera-raw-settings/1.0/' "
        "crs:Exposure2012 = '+0.35'/>\n"
        "<r:Description r:about='' xmlns:xap='http://ns.adobe.com/xap/1.0/'>\n"
        " <xap:MetadataDate>2024-05-02T08:00:00+02:00</xap:MetadataDate>\n"
        " <xap:Rating>3</xap:Rating>\n"
        " <xap:Label>Red</xap:Label>\n"
        "</r:Description>\n"
        "<r:Description r:about='' xmlns:m='http://ns.microsoft.com/photo/1.0' m:Rating='50'\t"
        "xmlns:un='urn:un>known'>\n"
        " <un:known r:parseType='Resource'><un:x>a > b<![CDATA[ <Rating>1</Rating> ]]></un:x></un:known>\n"
        "</r:Description>\n"
        "</r:RDF></x:xmpmeta>\n" + " " * 200 + "\n<?xpacket end='w'?>"
    )
    .replace("\n", "\r\n")
    .encode()
)
BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&b;</rdf:RDF>
</x:xmpmeta>"""
BROKEN = DARKTABLE[:400]
FOREIGN = b"<?xml version='1.0'?><html><body xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmp:Rating='1'/></html>"
RDF = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"
