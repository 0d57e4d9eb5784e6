import { Checkbox, Table, VisuallyHidden } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import { useNow } from '../../shared/useNow'
import type { ListedSession } from './documents'
import { SessionTableRow } from './SessionTableRow'

type Props = {
  rows: ListedSession[]
  selected: string[]
  onSelect: (ids: string[]) => void
  onEnd: (row: ListedSession) => void
  running: boolean
}

export function SessionTable({ rows, selected, onSelect, onEnd, running }: Props) {
  const { t } = useTranslation()
  const now = useNow()
  return (
    <Table.ScrollContainer minWidth={820} type="native" pos="relative">
      <Table verticalSpacing="sm" horizontalSpacing="md" highlightOnHover>
        <Table.Thead>
          <Table.Tr>
            <Table.Th w={40}>
              <Checkbox
                aria-label={t('sessions.selectAll')}
                checked={rows.length > 0 && rows.every((row) => selected.includes(row.id))}
                indeterminate={
                  rows.some((row) => selected.includes(row.id)) &&
                  !rows.every((row) => selected.includes(row.id))
                }
                onChange={(event) => onSelect(event.currentTarget.checked ? rows.map((row) => row.id) : [])}
              />
            </Table.Th>
            <Table.Th>{t('sessions.name')}</Table.Th>
            <Table.Th>{t('sessions.status')}</Table.Th>
            <Table.Th>{t('sessions.environment')}</Table.Th>
            <Table.Th>{t('sessions.resources')}</Table.Th>
            {running && <Table.Th>{t('sessions.usage')}</Table.Th>}
            <Table.Th>{t('sessions.elapsed')}</Table.Th>
            <Table.Th>
              <VisuallyHidden>{t('sessions.actions')}</VisuallyHidden>
            </Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map((row) => (
            <SessionTableRow
              key={row.id}
              row={row}
              selected={selected.includes(row.id)}
              onSelect={(on) => onSelect(on ? [...selected, row.id] : selected.filter((id) => id !== row.id))}
              onEnd={() => onEnd(row)}
              running={running}
              now={now}
            />
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  )
}
