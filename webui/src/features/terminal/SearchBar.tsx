import { ActionIcon, Group, Text, TextInput } from '@mantine/core'
import { IconArrowDown, IconArrowUp, IconX } from '@tabler/icons-react'
import type { SearchAddon } from '@xterm/addon-search'
import { useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'

/** Colours of what was found (the terminal is always dark). */
const DECORATIONS = {
  matchBackground: '#5c4a00',
  matchOverviewRuler: '#ffd43b',
  activeMatchBackground: '#e8a100',
  activeMatchColorOverviewRuler: '#ffd43b',
}

/** Search in one shell's scrollback. */
export function SearchBar({ addon, onClose }: { addon: SearchAddon; onClose: () => void }) {
  const { t } = useTranslation()
  const [text, setText] = useState('')
  const [found, setFound] = useState({ resultIndex: -1, resultCount: 0 })
  const field = useRef<HTMLInputElement>(null)

  useEffect(() => {
    field.current?.focus()
    const listening = addon.onDidChangeResults(setFound)
    return () => {
      listening.dispose()
      addon.clearDecorations()
    }
  }, [addon])

  const look = (way: 'findNext' | 'findPrevious', wanted = text, incremental = false) =>
    addon[way](wanted, { decorations: DECORATIONS, incremental })
  return (
    <Group gap={4} px="xs" py={4} wrap="nowrap" role="search">
      <TextInput
        ref={field}
        size="xs"
        w={240}
        aria-label={t('terminal.search')}
        placeholder={t('terminal.search')}
        value={text}
        onChange={(event) => {
          setText(event.currentTarget.value)
          look('findPrevious', event.currentTarget.value, true)
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter') look(event.shiftKey ? 'findNext' : 'findPrevious')
          if (event.key === 'Escape') onClose()
        }}
      />
      <Text size="xs" c="gray.4" miw={56} ta="center" role="status">
        {text ? `${found.resultIndex + 1} / ${found.resultCount}` : ''}
      </Text>
      {[
        { label: t('terminal.above'), icon: IconArrowUp, act: () => look('findPrevious') },
        { label: t('terminal.below'), icon: IconArrowDown, act: () => look('findNext') },
        { label: t('app.close'), icon: IconX, act: onClose },
      ].map((one) => (
        <ActionIcon
          key={one.label}
          variant="transparent"
          className="terminal-tool"
          aria-label={one.label}
          onClick={one.act}
        >
          <one.icon size={16} aria-hidden />
        </ActionIcon>
      ))}
    </Group>
  )
}
