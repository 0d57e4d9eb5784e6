import { Anchor, Paper, Table, Text, Title } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import { StatusBadge } from '../../shared/StatusBadge'
import type { DetailedSession } from './documents'

/** The containers of a session that has several. */
export function KernelTable({ session }: { session: DetailedSession }) {
  const { t } = useTranslation()
  const open = session.allowedActions.includes('openTerminal')
  return (
    <Paper className="card" radius="md" p="lg">
      <Title order={2} size="h5" mb="sm">
        {t('session.containers')}
      </Title>
      <Table.ScrollContainer minWidth={480}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t('session.container')}</Table.Th>
              <Table.Th>{t('session.node')}</Table.Th>
              <Table.Th>{t('session.status')}</Table.Th>
              <Table.Th>{t('session.exitCode')}</Table.Th>
              <Table.Th>{t('sessions.terminal')}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {session.kernels.map((kernel) => (
              <Table.Tr key={kernel.id}>
                <Table.Td className="mono">{kernel.hostname}</Table.Td>
                <Table.Td>{kernel.agent?.name ?? '–'}</Table.Td>
                <Table.Td>
                  <StatusBadge session={kernel} />
                  {kernel.statusReason?.message && (
                    <Text size="xs" c="dimmed" mt={2}>
                      {kernel.statusReason.message}
                    </Text>
                  )}
                </Table.Td>
                <Table.Td>{kernel.exitCode ?? '–'}</Table.Td>
                <Table.Td>
                  {open && kernel.status === 'RUNNING' ? (
                    <Anchor
                      size="sm"
                      href={`/sessions/${session.id}/terminal?kernel=${kernel.id}`}
                      target="_blank"
                      aria-label={`${t('sessions.terminal')}: ${kernel.hostname}`}
                    >
                      {t('sessions.terminal')}
                    </Anchor>
                  ) : (
                    '–'
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Paper>
  )
}
